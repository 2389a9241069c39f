#!/usr/bin/env bash
# Study quickstart: an array of SLURM jobs, one for each shard of its cells. Edit what your cluster wants (modules, an
# environment to activate), then hand it to sbatch in the folder that the paths below start from.
# A job that was stopped with its state saved goes back into the queue. One that died is begun again with
# `sbatch --array=I`: its shard goes on from what was saved. Shards that have all their records end at once.
#SBATCH --job-name=quickstart
#SBATCH --array=1-8
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --output=quickstart-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
# So long before the time is up this script alone is signalled, and tells the run to save. It is another signal than
# that of scancel, which the run gets itself and after which nothing goes back into the queue.
#SBATCH --signal=B:USR1@120
set -u

# All nodes must see the work folder: it holds the records, and tells the shards of one another.
.venv/bin/tlx run configs/quickstart.py --shard "$SLURM_ARRAY_TASK_ID/8" --workdir workdir/quickstart &
run=$!

told=
trap 'told=yes; kill -TERM "$run"' USR1
wait "$run"
code=$?
if [ -n "$told" ]; then # the signal ended the wait, but not yet the run
    wait "$run"
    code=$?
fi

# 75: stopped, saved, run me again. By its number in the array: the job's own may stand for the whole array.
if [ "$code" -eq 75 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
