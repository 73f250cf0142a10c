#!/usr/bin/env bash
# Dancer from poses, 1024 pixels high: test with the weights of pose2body_1024p.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python test.py \
  --name pose2body_1024p \
  --dataroot datasets/pose --dataset_mode pose --input_nc 6 \
  --n_scales_spatial 3 --no_first_img \
  --resize_or_crop scaleHeight --loadSize 1024 \
  "$@"
