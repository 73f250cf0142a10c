#!/usr/bin/env bash
# Street scenes from label maps, 1024 pixels wide, trained on 8 GPUs; initialized from label2city_512.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name label2city_1024 \
  --label_nc 35 --use_instance \
  --n_scales_spatial 2 --num_D 3 --fg \
  --loadSize 1024 \
  --gpu_ids 0,1,2,3,4,5,6,7 --n_gpus_gen 4 \
  --n_frames_total 4 \
  --niter_step 2 --niter_fix_global 10 --lr 0.0001 \
  --load_pretrain checkpoints/label2city_512 \
  "$@"
