#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds for this machine's GPU, tests on it, measures, and looks for memory errors and races, within nine minutes and
# without a network.
#
#   benchmarks/gpu.sh                        results go to benchmarks/results/<device>-<date>/
#   benchmarks/gpu.sh build benchmarks       only these stages, of: build environment tests benchmarks sanitizer
#   benchmarks/gpu.sh --rehearse             all that needs no GPU: build environment import collect compile budget
#   OUT=DIR PYTHON=python3 benchmarks/gpu.sh
#
# Every stage has a time limit and its own log, and needs nothing of the others but the build; one that fails does not
# keep the next from running, but the script's status is then 1. PYTHON is a Python with a CUDA build of torch, numpy,
# triton, pytest, hypothesis, pybind11 and ninja; without it the first of .venv, python3 and python that is one is taken.
# REHEARSAL=--once compiles one launch of every kernel instead of all.
set -uo pipefail
cd "$(dirname "$0")/.."

# Seconds of each stage; tests/test_gpu_script.py adds them up.
declare -A LIMIT=([build]=90 [environment]=20 [tests]=170 [benchmarks]=150 [sanitizer]=80
    [import]=60 [collect]=60 [compile]=360 [budget]=10)
ON_A_GPU=(build environment tests benchmarks sanitizer)
REHEARSED=(build environment import collect compile budget)
TOTAL=540 KILL_AFTER=4
# What is wanted most comes first: a limit of time ends the table where it stands.
export CASES="training_losses training_step inference soft_nms local_attention sensitivity_focal_loss
    contrastive_similarity diou_loss assign_points segment_iou segment_iou_ragged"

rehearse=0
[ "${1:-}" = --rehearse ] && rehearse=1 && shift
stages=("$@")
if [ ${#stages[@]} -eq 0 ]; then
    [ $rehearse = 1 ] && stages=("${REHEARSED[@]}") || stages=("${ON_A_GPU[@]}")
fi
for name in "${stages[@]}"; do
    if [ -z "${LIMIT[$name]:-}" ]; then
        echo "gpu.sh: no stage '$name'; there are ${ON_A_GPU[*]}, and to rehearse ${REHEARSED[*]}" >&2
        exit 2
    fi
done

device_of() { # python: the name of its GPU, nothing where torch sees none, status 1 where there is no torch
    "$1" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "")' 2>/dev/null
}
device='' chosen=''
for python in ${PYTHON:-.venv/bin/python python3 python}; do
    device=$(device_of "$python") || continue
    if [ -n "$device" ] || [ $rehearse = 1 ]; then chosen=$python && break; fi
done
if [ -z "$chosen" ]; then
    echo "gpu.sh: ${PYTHON:-no Python here} sees no CUDA device (python -m asl_fast.env says what is missing)" >&2
    exit 2
fi
[[ $chosen != */* ]] || chosen=$(cd "$(dirname "$chosen")" && pwd)/$(basename "$chosen")
[ $rehearse = 0 ] || device=rehearsal

slug=$(printf '%s' "$device" | tr '[:upper:] ' '[:lower:]-' | tr -cd 'a-z0-9-')
[ $rehearse = 1 ] && OUT=${OUT:-build/rehearsal/logs} || OUT=${OUT:-benchmarks/results/$slug-$(date +%Y-%m-%d)}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
# What tools would leave in the home directory stays in the checkout.
export TRITON_CACHE_DIR=${TRITON_CACHE_DIR:-$PWD/build/scratch/triton}
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$PWD/build/scratch/inductor}
export CUDA_CACHE_PATH=${CUDA_CACHE_PATH:-$PWD/build/scratch/cuda}
if [ $rehearse = 0 ]; then
    capability=$("$chosen" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
    export ASL_FAST_CUDA_ARCHS=${ASL_FAST_CUDA_ARCHS:-$capability}
fi
export PYTHON=$chosen OUT WORKERS=${WORKERS:-$(nproc)}
export CASES_SECONDS=$((LIMIT[benchmarks] - 20)) SANITIZER_SECONDS=$((LIMIT[sanitizer] - 8))
failed=()

# As an editable installation, or where that cannot be written or read: in place, with the kernels linked to where the
# package has them. Both compile what changed; a compiler that is there and fails is an error.
run_build() {
    [ ! -L asl_fast/kernels ] || rm asl_fast/kernels
    "$PYTHON" -m pip install -q --no-index --no-deps --no-build-isolation -e . || {
        echo "not installed; used from here instead"
        ln -sfn ../kernels asl_fast/kernels
    }
    "$PYTHON" - <<'PROGRAM'
import sys, sysconfig
from pathlib import Path
sys.path.insert(0, "csrc")
import native_build
tag = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
native_build.build(Path("build/native").resolve() / tag, [Path("asl_fast").resolve()], strict=True)
from asl_fast import native
for kind in ("cpu", "cuda"):
    why = native.why_missing(kind)
    print(f"{native.MODULES[kind]}: " + ("built" if why is None else f"left out: {why}"))
import asl_fast.kernels
PROGRAM
}

run_environment() { "$PYTHON" -m asl_fast.env; }

# A process for each file: compiling is what takes long. 5: no test of the file needs a GPU.
run_tests() {
    printf '%s\n' tests/kernels/test_*.py tests/training/test_{graph,loader}.py | xargs -P "$((WORKERS < 14 ? WORKERS : 14))" -I{} bash -c '
        log="$1/tests-$(basename "$2" .py).log"
        "$0" -m pytest -q -m gpu -p no:cacheprovider "$2" >"$log" 2>&1
        status=$?
        printf "%s: %s\n" "$2" "$(tail -n 1 "$log")"
        [ $status -eq 0 ] || [ $status -eq 5 ] || { grep -E "^(FAILED|ERROR)" "$log"; exit 1; }
    ' "$PYTHON" "$OUT" {}
}

run_benchmarks() {
    local ops=() known name
    known=$("$PYTHON" -c 'from benchmarks.registry import discover; print(*discover())') || return 1
    for name in $CASES; do [[ " $known " == *" $name "* ]] && ops+=(--op "$name"); done
    "$PYTHON" benchmarks/run.py --device cuda "${ops[@]}" --seconds 0.3 --no-compile --case-seconds 40 \
        --total-seconds "$CASES_SECONDS" --json "$OUT/results.json" --markdown
}

run_sanitizer() { benchmarks/sanitize_gpu.sh "$PYTHON" "$SANITIZER_SECONDS"; }

run_import() {
    "$PYTHON" - <<'PROGRAM'
import importlib, pkgutil
import asl_fast, asl_fast.kernels, asl_fast.ops, benchmarks.registry
for package in (asl_fast.ops, asl_fast.kernels):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
print(*benchmarks.registry.discover())
PROGRAM
}

run_collect() { "$PYTHON" -m pytest -q -p no:cacheprovider --collect-only -m gpu tests/kernels | tail -n 3; }

run_compile() { "$PYTHON" -m benchmarks.rehearsal --workers "$WORKERS" ${REHEARSAL:-}; }

sum=0
for name in "${ON_A_GPU[@]}"; do sum=$((sum + LIMIT[$name] + KILL_AFTER)); done
export TOTAL sum
run_budget() {
    echo "the stages take at most $sum of $TOTAL s"
    [ "$sum" -le "$TOTAL" ]
}
export -f run_build run_environment run_tests run_benchmarks run_sanitizer run_import run_collect run_compile run_budget

stage() {
    local name=$1 begin=$SECONDS left=$((TOTAL - SECONDS)) limit=${LIMIT[$1]} status
    [ $rehearse = 1 ] || [ "$limit" -le $left ] || limit=$left
    if [ "$limit" -lt 1 ]; then
        failed+=("$name"); echo "$name: no time was left"; return
    fi
    timeout --kill-after=$KILL_AFTER "$limit" "$BASH" -uo pipefail -c "run_$name" >"$OUT/$name.log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        echo "$name: passed in $((SECONDS - begin)) s"
        case $name in build | compile | budget) tail -n 3 "$OUT/$name.log" ;; esac
    else
        failed+=("$name")
        echo "$name: failed with status $status after $((SECONDS - begin)) s; the end of $OUT/$name.log:"
        tail -n 25 "$OUT/$name.log"
    fi
    case $name in environment | benchmarks) cat "$OUT/$name.log" ;; esac
}

echo "$device, $PYTHON, logs in $OUT"
for name in "${stages[@]}"; do stage "$name"; done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
