#!/usr/bin/env bash
# Street scenes from label maps, 896 pixels wide, trained on one GPU; initialized from label2city_512_g1.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name label2city_1024_g1 \
  --label_nc 35 --use_instance \
  --n_scales_spatial 3 --n_downsample_G 2 --num_D 3 --n_frames_D 2 --fg \
  --loadSize 896 \
  --max_frames_per_gpu 1 \
  --n_frames_total 4 \
  --niter_decay 5 --niter_step 2 --niter_fix_global 8 --lr 0.0001 \
  --load_pretrain checkpoints/label2city_512_g1 \
  "$@"
