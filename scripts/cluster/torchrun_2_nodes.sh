#!/bin/bash
# Two machines with 8 GPUs each, one process a GPU: 16 clips a step. On each machine, with its own number (0 or 1):
#   NODE=0 MASTER=first-machine bash scripts/cluster/torchrun_2_nodes.sh --name label2city --dataroot datasets/Cityscapes ...
# Data, weights and checkpoints_dir must be where both machines find them. Where one process ends, torchrun ends all.
set -euo pipefail
torchrun --nnodes 2 --nproc_per_node "${GPUS:-8}" --node_rank "$NODE" --max_restarts 0 \
    --rdzv_backend c10d --rdzv_endpoint "$MASTER:${PORT:-29500}" --rdzv_id vid2vid \
    train.py "$@"
