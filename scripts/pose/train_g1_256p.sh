#!/usr/bin/env bash
# Dancer from poses, 256 pixels high, trained on one GPU.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name pose2body_256p_g1 \
  --dataroot datasets/pose --dataset_mode pose --input_nc 6 \
  --ngf 64 --num_D 2 --no_first_img \
  --resize_or_crop randomScaleHeight_and_scaledCrop --loadSize 384 --fineSize 256 \
  --max_frames_per_gpu 4 \
  --n_frames_total 12 --max_t_step 4 \
  --niter 5 --niter_decay 5 \
  "$@"
