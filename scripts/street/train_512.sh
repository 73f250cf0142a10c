#!/usr/bin/env bash
# Street scenes from label maps, 512 pixels wide, trained on 8 GPUs.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name label2city_512 \
  --label_nc 35 --use_instance \
  --fg \
  --loadSize 512 \
  --gpu_ids 0,1,2,3,4,5,6,7 --n_gpus_gen 6 --max_frames_per_gpu 2 \
  --n_frames_total 6 \
  "$@"
