#!/bin/bash
# One run on Slurm. EDIT the lines below, then:
#   sbatch docs/slurm.sh MANIFEST RUN --checkpoint DIR                          one Ray cluster of all nodes of the job
#   sbatch --array=1-8 --nodes=1 docs/slurm.sh MANIFEST RUN --checkpoint DIR    eight shards without a cluster
# The arguments are those of 'rvos segment', MANIFEST and RUN first. To resume, repeat the command.
#SBATCH --job-name=rvos
#SBATCH --nodes=4               # EDIT
#SBATCH --ntasks-per-node=1     # a node of Ray: two on one machine would end each other
#SBATCH --gpus-per-task=1       # EDIT: all GPUs of a machine that the job has
#SBATCH --cpus-per-task=8       # EDIT
#SBATCH --mem=32G               # EDIT
#SBATCH --time=24:00:00         # EDIT
#SBATCH --requeue               # after preemption
#SBATCH --signal=B:TERM@120     # at the end of the time, this script requeues the job
#SBATCH --open-mode=append      # keep the log of earlier starts
set -uo pipefail
source "${RVOS_ENV:-/shared/refervos/.venv}/bin/activate"  # EDIT: on a file system that all nodes mount

export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # srun does not take it over by itself (Slurm 22.05 and newer)
manifest=$1 run=$2
shift 2

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    srun rvos segment "$manifest" "$run" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@" &
else
    cpus=$SRUN_CPUS_PER_TASK gpus=${SLURM_GPUS_PER_TASK:-0}
    gpus=${gpus##*:}  # of "a100:4"
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    # Whoever reaches a port of Ray runs code as you, unless Ray asks for a token.
    RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
    export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300  # seconds until all nodes must have started
    # One actor for each GPU or core, unless you give another number.
    [[ " $*" == *" --actors"* ]] || set -- --actors $((SLURM_JOB_NUM_NODES * (gpus ? gpus : cpus))) "$@"
    result=$(mktemp)  # for the exit code of rvos, which runs on this node: that of 'ray symmetric-run' says nothing
    # Ray's logs and sockets are open to all users, so they go to a new folder that is ours alone: by default they would go
    # to /tmp/ray, which belongs to its first user.
    # shellcheck disable=SC2016
    srun bash -c 'RAY_TMPDIR=$(mktemp -d /tmp/rvos-XXXXXXXX) && export RAY_TMPDIR && exec "$@"' node \
        ray symmetric-run --address "$head:$((20000 + SLURM_JOB_ID % 10000))" --min-nodes "$SLURM_JOB_NUM_NODES" \
        --num-cpus "$cpus" --num-gpus "$gpus" -- \
        bash -c '"${@:2}"; echo $? > "$1"' rvos "$result" \
        rvos segment "$manifest" "$run" --address auto "$@" &
fi
step=$!
trap 'requeue=1; kill -TERM $step' TERM
wait $step
code=$?
[ -z "${result:-}" ] || code=$(cat "$result")
if [ -n "${requeue:-}" ]; then
    wait $step  # committed units are kept
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "${code:-3}"
