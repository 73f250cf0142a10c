#!/usr/bin/env bash
# Smaller and faster generators on a synthetic street: bash scripts/demos/distillation.sh
# Compares a full generator, a slim one, a slim one distilled from the full one, and the full one with keyframes.
# Takes minutes on two CPU cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash scripts/dev/setup.sh
python=.venv/bin/python
data=datasets/toy_small
slim=(--ngf 8 --n_blocks 2)
train=(--dataroot "$data" --label_nc 35 --use_instance --loadSize 128 --no_flip --n_downsample_G 2 --ndf 16 --num_D 2
    --no_vgg --lr 0.0008 --n_frames_total 6 --max_frames_per_gpu 3 --n_scales_temporal 2 --flow_net dis
    --niter_step 1000 --niter 4 --niter_decay 3 --clips_per_epoch 16 --print_freq 10 --save_epoch_freq 100)

"$python" scripts/make_toy_data.py --mode street --out "$data" --phase both --sequences 12 --frames 24 --size 128x64
"$python" train.py --name full "${train[@]}" --ngf 24 --n_blocks 6
"$python" train.py --name slim "${train[@]}" "${slim[@]}"
"$python" train.py --name distilled "${train[@]}" "${slim[@]}" --distill_from checkpoints/full
"$python" -m scripts.demos.compare_models checkpoints/full checkpoints/slim checkpoints/distilled --keyframes 2,4
