#!/usr/bin/env bash
# Starts the processes of this machine for a run on several machines. On every machine run:
#
#   MAIN=10.0.0.1 RANK=0 MACHINES=2 GPUS=8 launch/multi_node.sh --output_dir /shared/run ...
#
# RANK is 0 on the machine at address MAIN, and 1, 2, ... on the others; under SLURM, RANK, MACHINES
# and GPUS are known. To stop the run, send SIGUSR1 to the training processes of any machine, or
# SIGTERM to a launcher, which gives the training processes TORCH_ELASTIC_SHUTDOWN_TIMEOUT seconds
# to save. This script was not tested with GPUs.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${MAIN:?give the address of machine 0}"
RANK=${RANK:-${SLURM_NODEID:?give RANK, the number of this machine}}
MACHINES=${MACHINES:-${SLURM_NNODES:?give MACHINES, the number of machines}}
GPUS=${GPUS:-${SLURM_GPUS_ON_NODE:-8}}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-100}
# SIGUSR1 may be sent to all processes of this machine. The launcher inherits that SIGUSR1 is ignored,
# so the signal does not end the launcher; the training processes install a handler of their own.
trap '' USR1
exec accelerate launch --config_file accelerate_configs/multi_node.yaml \
    --num_machines "$MACHINES" --machine_rank "$RANK" \
    --main_process_ip "$MAIN" --main_process_port "${PORT:-29500}" \
    --num_processes "$((MACHINES * GPUS))" \
    train_loop.py --checkpointing_steps 500 --resume_from_checkpoint auto "$@"
