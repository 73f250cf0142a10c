#!/usr/bin/env bash
# Talking head from face edges, 256 pixels wide, trained on one GPU.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name edge2face_256_g1 \
  --dataroot datasets/face/ --dataset_mode face --input_nc 15 \
  --ngf 64 \
  --loadSize 256 \
  --max_frames_per_gpu 6 \
  --n_frames_total 12 \
  --niter 20 --niter_decay 20 \
  "$@"
