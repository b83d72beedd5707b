#!/bin/bash
#SBATCH --nodes=8 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=16 --time=12:00:00
# sbatch docs/cluster/slurm.sh COMMAND: a cluster of Ray on the machines of the job, and the command on the first of them.
set -euo pipefail
export RAY_ADDRESS="$(hostname):6379"
ray start --head --port=6379 --disable-usage-stats
trap "ray stop" EXIT
others=$((SLURM_JOB_NUM_NODES - 1))
[ "$others" -eq 0 ] || srun --nodes="$others" --ntasks="$others" --exclude="$(hostname)" \
  ray start --address="$RAY_ADDRESS" --disable-usage-stats --block &
"$@"
