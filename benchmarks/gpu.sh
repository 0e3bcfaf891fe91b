#!/bin/sh
# Test and measure everything on this machine's NVIDIA GPU, in nine minutes at most: benchmarks/gpu.sh OUT [WHEELS]
#
# Needs Python with torch for CUDA. The packages that it lacks are installed from the folder WHEELS, if one is given,
# without a network and outside of the environment (pip download -d WHEELS av pycocotools ... makes one elsewhere).
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
wheels=${2:+$(cd "$2" && pwd)}
cd "$(dirname "$0")/.."
if [ -n "$wheels" ]; then
    python3 -m pip install --quiet --no-index --no-deps --target "$out/packages" "$wheels"/*.whl
    export PYTHONPATH="$out/packages"
fi
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}"
nvidia-smi | tee "$out/nvidia-smi.txt"
python3 -m benchmarks.gpu run --out "$out" --minutes 8.5
