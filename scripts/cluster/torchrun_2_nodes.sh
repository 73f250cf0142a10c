#!/usr/bin/env bash
# Trains on two nodes with 8 GPUs each, one process per GPU, 16 clips per step. Run it on each node, with NODE=0 or 1:
#   NODE=0 MASTER=HOST_OF_NODE_0 bash scripts/cluster/torchrun_2_nodes.sh --name label2city --dataroot datasets/Cityscapes ...
# Both nodes must see the data, the weights and --checkpoints_dir under the same paths. If one process ends, torchrun
# ends all of them. GPUS and PORT change the GPUs per node and the port.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
torchrun --nnodes 2 --nproc_per_node "${GPUS:-8}" --node_rank "$NODE" --max_restarts 0 \
    --rdzv_backend c10d --rdzv_endpoint "$MASTER:${PORT:-29500}" --rdzv_id vid2vid \
    train.py "$@"
