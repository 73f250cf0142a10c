#!/usr/bin/env bash
# Talking head from face edges, 256 pixels wide: test with the weights of edge2face_256_g1.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python test.py \
  --name edge2face_256_g1 \
  --dataroot datasets/face/ --dataset_mode face --input_nc 15 \
  --ngf 64 --use_single_G \
  --loadSize 256 \
  "$@"
