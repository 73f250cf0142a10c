#!/usr/bin/env bash
# Dancer from poses, 1024 pixels high, trained on 8 GPUs; initialized from pose2body_512p.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name pose2body_1024p \
  --dataroot datasets/pose --dataset_mode pose --input_nc 6 \
  --n_scales_spatial 3 --num_D 4 --add_face_disc --no_first_img \
  --resize_or_crop randomScaleHeight_and_scaledCrop --loadSize 1536 --fineSize 1024 \
  --gpu_ids 0,1,2,3,4,5,6,7 --n_gpus_gen 4 \
  --n_frames_total 12 --max_t_step 4 \
  --niter 5 --niter_decay 5 --niter_fix_global 3 --lr 0.00005 \
  --load_pretrain checkpoints/pose2body_512p \
  "$@"
