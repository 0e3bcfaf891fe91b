#!/usr/bin/env bash
# Masks of a teacher, choice, training, better masks: docs/pseudo-labelling.md on a larger corpus that looks different from
# the training data of the checkpoint (benchmarks/fog.py). Masks of 120 of its 560 videos are known: those of 60 adapt the
# teacher, those of the other 60 set the cut. The student sees masks of the teacher only. Every sentence has a target.
#
# benchmarks/round_trip.sh NEW_FOLDER [CHECKPOINT]     from the folder of the sources; half an hour on 2 cores
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
checkpoint=$(realpath "${2:-$here/model/tiny}")
mkdir -p "$1" && cd "$1"
PATH="$here/.venv/bin:$PATH"

rvos synth --out clear --videos 560 --split val --frames 8:12 --expressions 5 --seed 31
rvos synth --out clear-test --videos 180 --split test --frames 8:12 --expressions 2 --seed 32
python "$here/benchmarks/fog.py" clear world
python "$here/benchmarks/fog.py" clear-test test
python - <<'END'
import pyarrow.compute as pc, pyarrow.parquet as pq

def write(name, table, first, end):
    videos = table["video_id"]
    keep = pc.and_(pc.greater_equal(videos, f"val-{first:05}"), pc.less(videos, f"val-{end:05}"))
    pq.write_table(table.filter(keep), f"world/{name}.parquet")

masks, pairs = pq.read_table("world/annotations.parquet"), pq.read_table("world/manifest.parquet")
write("adapt", masks, 0, 60)
write("cut", masks, 60, 120)
write("unseen", pairs, 60, 560)
END

recipe="--config $here/benchmarks/round_trip.toml --workers 2"
rvos train --data world/manifest.parquet --annotations world/adapt.parquet --init "$checkpoint" --out teacher $recipe
rvos segment world/unseen.parquet masks --checkpoint teacher/checkpoint --no-target-below 0
rvos select masks --out kept --calibrate world/cut.parquet --precision 0.8 --rule "empty < 1"
rvos train --data kept/manifest.parquet --annotations masks --init "$checkpoint" --out student $recipe

scored() {
  rvos segment test/manifest.parquet "test-$1" --checkpoint "$2" --no-target-below 0
  rvos evaluate "test-$1" test/annotations.parquet --out "scores-$1" --by unseen --by kind
}
scored before "$checkpoint"
scored teacher teacher/checkpoint
scored after student/checkpoint
rvos compare scores-before scores-after scores-teacher --by unseen
