#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds for this machine's GPU, tests on it, looks for memory errors and races, and measures, within ten minutes.
#
#   benchmarks/gpu.sh                       results go to benchmarks/results/<device>-<date>/
#   OUT=DIR PYTHON=python3 benchmarks/gpu.sh
#
# Every stage has a time limit and its own log; a stage that fails does not keep the next from running, but the script's
# status is then 1. PYTHON needs a CUDA build of torch, pytest, pybind11 and ninja.
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
if ! device=$("$PYTHON" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "")') ||
    [ -z "$device" ]; then
    echo "gpu.sh: $PYTHON sees no CUDA device (python -m asl_fast.env says what is missing)" >&2
    exit 2
fi
slug=$(printf '%s' "$device" | tr '[:upper:] ' '[:lower:]-' | tr -cd 'a-z0-9-')
OUT=${OUT:-benchmarks/results/$slug-$(date +%Y-%m-%d)}
mkdir -p "$OUT"
# What tools would leave in the home directory stays in the checkout.
export TRITON_CACHE_DIR=${TRITON_CACHE_DIR:-$PWD/build/scratch/triton}
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$PWD/build/scratch/inductor}
capability=$("$PYTHON" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
export ASL_FAST_CUDA_ARCHS=${ASL_FAST_CUDA_ARCHS:-$capability}
failed=()

stage() { # name, seconds, command...
    local name=$1 limit=$2 begin=$SECONDS status
    shift 2
    timeout --kill-after=10 "$limit" "$@" >"$OUT/$name.log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        echo "$name: passed in $((SECONDS - begin)) s"
    else
        failed+=("$name")
        echo "$name: failed with status $status after $((SECONDS - begin)) s; the end of $OUT/$name.log:"
        tail -n 15 "$OUT/$name.log"
    fi
}

# Compiling for the tests is what takes long, and more processes do it in parallel.
workers=()
"$PYTHON" -c 'import xdist' 2>/dev/null && workers=(-n 8 --dist worksteal)

echo "$device, sm_$capability, results in $OUT"
stage build 100 "$PYTHON" setup.py -q build_ext --inplace --strict
stage environment 30 "$PYTHON" -m asl_fast.env
stage tests 240 "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider "${workers[@]}"
stage benchmarks 140 "$PYTHON" benchmarks/run.py --device cuda --seconds 0.3 --no-compile --case-seconds 15 \
    --json "$OUT/results.json" --markdown
stage sanitizer 80 benchmarks/sanitize_gpu.sh "$PYTHON"
cat "$OUT/benchmarks.log"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
