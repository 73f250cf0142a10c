#!/usr/bin/env bash
# Dancer from poses, 256 pixels high, trained on 8 GPUs, batch size 8.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name pose2body_256p \
  --dataroot datasets/pose --dataset_mode pose --input_nc 6 \
  --num_D 2 --no_first_img \
  --resize_or_crop randomScaleHeight_and_scaledCrop --loadSize 384 --fineSize 256 \
  --gpu_ids 0,1,2,3,4,5,6,7 --batchSize 8 --max_frames_per_gpu 3 \
  --n_frames_total 12 --max_t_step 4 \
  --niter 5 --niter_decay 5 \
  "$@"
