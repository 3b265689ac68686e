#!/usr/bin/env bash
# Start this machine's share of a run on several machines. On every one of them:
#
#   MAIN=10.0.0.1 RANK=0 MACHINES=2 GPUS=8 launch/multi_node.sh --output_dir /shared/run ...
#
# RANK is 0 on the machine at address MAIN, 1, 2, ... on the others. Not tested here with GPUs.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${MAIN:?address of machine 0}" "${RANK:?number of this machine}" "${MACHINES:?how many}"
exec accelerate launch --config_file accelerate_configs/multi_node.yaml \
    --num_machines "$MACHINES" --machine_rank "$RANK" --main_process_ip "$MAIN" \
    --num_processes "$((MACHINES * ${GPUS:-8}))" \
    train_loop.py --checkpointing_steps 500 --resume_from_checkpoint auto "$@"
