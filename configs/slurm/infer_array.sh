#!/bin/sh
# 16 parts of one archive as a SLURM array; all write to one OUT. Submit:
#   job=$(sbatch --parsable --array=1-16 configs/slurm/infer_array.sh SCANS MODEL.hrct OUT)
#   sbatch --dependency=afterany:$job --wrap "python infer.py --merge OUT --out OUT"
# A part that was killed goes on where it stopped: submit the same line again. Exit 1 means that some studies were
# rejected, which is no failure of the job.
#SBATCH --job-name=myolung
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@60
# The warning goes to job steps, so this has to be one; a step does not inherit the cores of the job since SLURM 22.05.
srun --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" python infer.py "$1" --model "$2" --out "$3" \
    --shard "${SLURM_ARRAY_TASK_ID}/${SLURM_ARRAY_TASK_COUNT}" --workers "$((SLURM_CPUS_PER_TASK / 2))"
code=$?
[ "$code" -eq 1 ] && code=0
exit "$code"
