#!/usr/bin/env bash
# Street scenes from label maps, 2048 pixels wide: test with the weights of label2city_2048.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python test.py \
  --name label2city_2048 \
  --label_nc 35 --use_instance \
  --n_scales_spatial 3 --fg --use_single_G \
  --loadSize 2048 \
  "$@"
