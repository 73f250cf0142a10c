#!/usr/bin/env bash
# Dancer from poses, 1024 pixels high, trained on one GPU; initialized from pose2body_512p_g1.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name pose2body_1024p_g1 \
  --dataroot datasets/pose --dataset_mode pose --input_nc 6 \
  --n_scales_spatial 3 --ngf 64 --ndf 32 --num_D 4 --add_face_disc --no_first_img \
  --resize_or_crop randomScaleHeight_and_scaledCrop --loadSize 1536 --fineSize 1024 \
  --n_frames_total 12 --max_t_step 4 \
  --niter 5 --niter_decay 5 --niter_fix_global 3 --lr 0.00005 \
  --load_pretrain checkpoints/pose2body_512p_g1 \
  "$@"
