#!/usr/bin/env bash
# Talking head from face edges, 512 pixels wide, trained on 8 GPUs.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name edge2face_512 \
  --dataroot datasets/face/ --dataset_mode face --input_nc 15 \
  --num_D 3 \
  --loadSize 512 \
  --gpu_ids 0,1,2,3,4,5,6,7 --n_gpus_gen 6 \
  --n_frames_total 12 \
  --niter 20 --niter_decay 20 \
  "$@"
