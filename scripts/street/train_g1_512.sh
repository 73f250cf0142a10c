#!/usr/bin/env bash
# Street scenes from label maps, 512 pixels wide, trained on one GPU; initialized from label2city_256_g1.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
python train.py \
  --name label2city_512_g1 \
  --label_nc 35 --use_instance \
  --n_scales_spatial 2 --n_downsample_G 2 --fg \
  --loadSize 512 \
  --max_frames_per_gpu 2 \
  --n_frames_total 4 \
  --niter_decay 5 --niter_step 2 --niter_fix_global 8 \
  --load_pretrain checkpoints/label2city_256_g1 \
  "$@"
