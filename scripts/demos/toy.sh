#!/usr/bin/env bash
# Trains and tests on synthetic data: bash scripts/demos/toy.sh street|pose
# The first images of the street come from a single-image network that is trained too; poses need none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mode=${1:-}
if [ "$mode" != street ] && [ "$mode" != pose ]; then
    echo "error: mode '$mode': expected street or pose (for faces: bash scripts/demo.sh)" >&2
    exit 1
fi
bash scripts/dev/setup.sh
python=.venv/bin/python
data=datasets/toy_$mode
run=(--dataroot "$data" --name "toy_$mode")
network=(--ngf 16 --n_downsample_G 2 --n_blocks 4)
train=(--ndf 16 --num_D 2 --no_vgg --lr 0.0008 --niter_step 1000 --display_freq 20 --print_freq 10
    --save_epoch_freq 100)
video=(--n_frames_total 6 --max_frames_per_gpu 3 --n_scales_temporal 2 --flow_net dis)

if [ "$mode" = street ]; then
    labels=(--label_nc 35 --use_instance --loadSize 128)
    single=checkpoints/toy_street_single
    "$python" scripts/make_toy_data.py --mode street --out "$data" --phase both --sequences 4 --frames 12 --size 128x64
    "$python" train.py "${run[@]}" "${labels[@]}" "${network[@]}" "${train[@]}" "${video[@]}" \
        --no_flip --niter 5 --niter_decay 3 --clips_per_epoch 16
    "$python" train.py --dataroot "$data" --name toy_street_single "${labels[@]}" "${network[@]}" "${train[@]}" \
        --model single --netG global --norm instance --niter 8 --niter_decay 8
    "$python" scripts/demos/evaluate_first_frame.py "${run[@]}" --single_G "$single"
    "$python" test.py "${run[@]}" --single_G "$single"
else
    pose=(--dataset_mode pose --input_nc 6 --resize_or_crop scaleHeight --loadSize 160 --no_first_img)
    "$python" scripts/make_toy_data.py --mode pose --out "$data" --phase both --sequences 3 --frames 16
    "$python" train.py "${run[@]}" "${pose[@]}" "${network[@]}" "${train[@]}" "${video[@]}" \
        --random_drop_prob 0 --niter 5 --niter_decay 3 --clips_per_epoch 12
    "$python" test.py "${run[@]}" "${pose[@]}" "${network[@]}"
fi
