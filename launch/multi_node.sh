#!/usr/bin/env bash
# Start this machine's share of a run on several machines. On every one of them:
#
#   MAIN=10.0.0.1 RANK=0 MACHINES=2 GPUS=8 launch/multi_node.sh --output_dir /shared/run ...
#
# RANK is 0 on the machine at address MAIN, 1, 2, ... on the others; under SLURM, RANK, MACHINES and
# GPUS are known. To stop the run: SIGUSR1 to the training processes of any machine, or SIGTERM to
# a launcher, which gives them TORCH_ELASTIC_SHUTDOWN_TIMEOUT seconds to save. Not tested here with
# GPUs.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${MAIN:?address of machine 0}"
RANK=${RANK:-${SLURM_NODEID:?RANK: number of this machine}}
MACHINES=${MACHINES:-${SLURM_NNODES:?MACHINES: how many}}
GPUS=${GPUS:-${SLURM_GPUS_ON_NODE:-8}}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-100}
# SIGUSR1 may be sent to all processes here: the launcher inherits that it is ignored, and so lives;
# the training processes put their own handler in its place.
trap '' USR1
exec accelerate launch --config_file accelerate_configs/multi_node.yaml \
    --num_machines "$MACHINES" --machine_rank "$RANK" \
    --main_process_ip "$MAIN" --main_process_port "${PORT:-29500}" \
    --num_processes "$((MACHINES * GPUS))" \
    train_loop.py --checkpointing_steps 500 --resume_from_checkpoint auto "$@"
