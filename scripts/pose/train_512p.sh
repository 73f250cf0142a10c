#!/usr/bin/env bash
# Dancer from poses, 512 pixels high, trained on 8 GPUs, batch size 8; initialized from pose2body_256p.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name pose2body_512p \
  --dataroot datasets/pose --dataset_mode pose --input_nc 6 \
  --n_scales_spatial 2 --num_D 3 --add_face_disc --no_first_img \
  --resize_or_crop randomScaleHeight_and_scaledCrop --loadSize 768 --fineSize 512 \
  --gpu_ids 0,1,2,3,4,5,6,7 --batchSize 8 \
  --n_frames_total 12 --max_t_step 4 \
  --niter 5 --niter_decay 5 --niter_fix_global 3 --lr 0.0001 \
  --load_pretrain checkpoints/pose2body_256p \
  "$@"
