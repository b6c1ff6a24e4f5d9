#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=asl_fast
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --requeue
#
# Trains on all GPUs of some machines:    sbatch examples/cluster/slurm.sh --dataset thumos14 --data-root DIR --preset full
# A job that is requeued goes on from its last finished epoch, also with another number of GPUs. RUN names the folder of
# the run, on a disk that all machines see.
set -euo pipefail

RUN=${RUN:-runs/slurm-$SLURM_JOB_ID}
MACHINES=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
FIRST=${MACHINES%%$'\n'*}
# Every GPU of a machine gets a process.
GPUS=${SLURM_GPUS_ON_NODE:-1}

exec srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$GPUS" --max-restarts 0 \
	--rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$FIRST:29400" \
	-m asl_fast.train --resume --output "$RUN" "$@"
