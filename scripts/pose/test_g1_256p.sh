#!/usr/bin/env bash
# Dancer from poses, 256 pixels high: test with the weights of pose2body_256p_g1.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python test.py \
  --name pose2body_256p_g1 \
  --dataroot datasets/pose --dataset_mode pose --input_nc 6 \
  --n_scales_spatial 1 --ngf 64 --no_first_img \
  --resize_or_crop scaleHeight --loadSize 256 \
  "$@"
