#!/usr/bin/env bash
# Talking head from face edges, 512 pixels wide, trained on one GPU; initialized from edge2face_256_g1.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name edge2face_512_g1 \
  --dataroot datasets/face/ --dataset_mode face --input_nc 15 \
  --n_scales_spatial 2 --ngf 64 --num_D 3 \
  --loadSize 512 \
  --n_frames_total 6 \
  --niter_step 2 --niter_fix_global 5 \
  --load_pretrain checkpoints/edge2face_256_g1 \
  "$@"
