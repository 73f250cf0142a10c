#!/usr/bin/env bash
# Smaller and faster ways to a toy street, beside the full network: a slim one trained alone, the same taught by the
# full one, and the full one painting every 2nd or 4th frame. Minutes on two CPU cores. bash scripts/demos/distillation.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash scripts/dev/setup.sh
python=.venv/bin/python
data=datasets/toy_small
slim="--ngf 8 --n_blocks 2"
train="--dataroot $data --label_nc 35 --use_instance --loadSize 128 --no_flip --n_downsample_G 2 --ndf 16 --num_D 2
    --no_vgg --lr 0.0008 --n_frames_total 6 --max_frames_per_gpu 3 --n_scales_temporal 2 --flow_net dis
    --niter_step 1000 --niter 4 --niter_decay 3 --clips_per_epoch 16 --print_freq 10 --save_epoch_freq 100"

$python scripts/make_toy_data.py --mode street --out $data --phase both --sequences 12 --frames 24 --size 128x64
$python train.py --name full $train --ngf 24 --n_blocks 6
$python train.py --name slim $train $slim
$python train.py --name taught $train $slim --distill_from checkpoints/full
$python scripts/demos/compare_models.py checkpoints/full checkpoints/slim checkpoints/taught --keyframes 2,4
