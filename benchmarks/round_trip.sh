#!/usr/bin/env bash
# Masks of a teacher, choice, training, better masks: docs/pseudo-labelling.md on a larger corpus. It is more crowded than
# anything that teacher and student were trained on (6 to 8 shapes, not 2 to 5). Masks of 60 of its 400 videos are known; they
# only set the cut. The teacher is the checkpoint in the box, the student starts from STUDENT.
#
# benchmarks/round_trip.sh NEW_FOLDER STUDENT     from the folder of the sources; half an hour on 2 cores
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
teacher=$here/model/tiny
student=$(realpath "$2")
mkdir -p "$1" && cd "$1"
PATH="$here/.venv/bin:$PATH"

rvos synth --out world --videos 400 --split val --frames 8:12 --shapes 6:8 --expressions 5 --seed 31
python - <<'END'
import pyarrow.compute as pc, pyarrow.parquet as pq
masks = pq.read_table("world/annotations.parquet")
pq.write_table(masks.filter(pc.less(masks["video_id"], "val-00060")), "labelled.parquet")
END
rvos segment world/manifest.parquet teacher --checkpoint "$teacher" --short-side 96
rvos select teacher --out kept --calibrate labelled.parquet --measure fragments --rule "empty < 1"
rvos train --data kept/manifest.parquet --annotations teacher --init "$student" --out student --workers 2 \
  --config "$here/benchmarks/round_trip.toml"

rvos synth --out test --videos 180 --split test --frames 8:12 --shapes 6:8 --expressions 2 --seed 32
scored() {
  rvos segment test/manifest.parquet "test-$1" --checkpoint "$2" --short-side 96
  rvos evaluate "test-$1" test/annotations.parquet --out "scores-$1" --by unseen --by kind
}
scored teacher "$teacher"
scored before "$student"
scored after student/checkpoint
rvos compare scores-before scores-after scores-teacher --by unseen
