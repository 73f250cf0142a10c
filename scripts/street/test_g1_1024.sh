#!/usr/bin/env bash
# Street scenes from label maps, 1024 pixels wide: test with the weights of label2city_1024_g1.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python test.py \
  --name label2city_1024_g1 \
  --label_nc 35 --use_instance \
  --n_scales_spatial 3 --n_downsample_G 2 --fg --use_single_G \
  --loadSize 1024 \
  "$@"
