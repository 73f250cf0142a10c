#!/usr/bin/env bash
# Predicts future frames of a synthetic street: bash scripts/demos/label_prediction.sh
# One network learns to predict the next label map, another to generate images from label maps. Then, from four frames
# of held-out sequences, the next ten are predicted and generated.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash scripts/dev/setup.sh
python=.venv/bin/python
data=datasets/toy_future
street=(--dataroot "$data" --label_nc 35 --loadSize 128 --no_flip)
network=(--ngf 16 --n_downsample_G 2 --n_blocks 4)
schedule=(--n_frames_total 6 --max_frames_per_gpu 3 --niter_step 1000 --niter_decay 3)
logging=(--display_freq 20 --print_freq 10 --save_epoch_freq 100)
common=("${street[@]}" "${network[@]}" "${schedule[@]}" "${logging[@]}")

"$python" scripts/make_toy_data.py --mode street --out "$data" --phase both --sequences 12 --frames 24 --size 128x64
"$python" train.py --model future_labels --name toy_future_labels "${common[@]}" --n_frames_G 5 --lr 0.0006 \
    --grad_clip 1 --niter 2 --clips_per_epoch 24
"$python" scripts/demos/evaluate_label_prediction.py checkpoints/toy_future_labels
"$python" train.py --name toy_future "${common[@]}" --use_instance --ndf 16 --num_D 2 --no_vgg --lr 0.0008 \
    --n_scales_temporal 2 --flow_net dis --niter 4 --clips_per_epoch 16
"$python" test.py --name toy_future --use_real_img --future_labels checkpoints/toy_future_labels --how_many 40
"$python" scripts/evaluate.py "$data/test_B" results/toy_future/test_latest --flow_net dis
