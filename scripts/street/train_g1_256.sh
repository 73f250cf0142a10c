#!/usr/bin/env bash
# Street scenes from label maps, 256 pixels wide, trained on one GPU.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name label2city_256_g1 \
  --label_nc 35 --use_instance \
  --n_downsample_G 2 --num_D 1 --fg \
  --loadSize 256 \
  --max_frames_per_gpu 6 \
  --n_frames_total 6 \
  "$@"
