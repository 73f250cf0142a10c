#!/usr/bin/env bash
# Talking head from face edges, 512 pixels wide: test with the weights of edge2face_512.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python test.py \
  --name edge2face_512 \
  --dataroot datasets/face/ --dataset_mode face --input_nc 15 \
  --use_single_G \
  --loadSize 512 \
  "$@"
