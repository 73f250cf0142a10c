#!/usr/bin/env bash
# Street scenes from label maps, 2048 pixels wide, trained on 8 GPUs on 1024-pixel crops; initialized from label2city_1024.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name label2city_2048_crop \
  --label_nc 35 --use_instance \
  --n_scales_spatial 3 --num_D 4 --fg \
  --resize_or_crop crop --loadSize 2048 --fineSize 1024 \
  --gpu_ids 0,1,2,3,4,5,6,7 --n_gpus_gen 4 \
  --n_frames_total 4 \
  --niter 5 --niter_decay 5 --niter_step 1 --niter_fix_global 5 --lr 0.00005 \
  --load_pretrain checkpoints/label2city_1024 \
  "$@"
