#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The CUDA kernels under compute-sanitizer, its four checks side by side: memory errors, races in shared memory, wrong
# barriers, and reads of memory that nobody wrote.
#
#   sanitize_gpu.sh [python [seconds]]
#
# Few examples of each property are drawn (ASL_FAST_EXAMPLES). Logs go to OUT. Without compute-sanitizer it says so and
# succeeds.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python} seconds=${2:-600} logs=${OUT:-build/sanitizer}
mkdir -p "$logs"

tool=$(command -v compute-sanitizer) ||
    for nvcc in "${NVCC:-}" "$(command -v nvcc)" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"; do
        # It lies beside the compiler, wherever the compiler's link points.
        [ -n "$nvcc" ] && [ -e "$nvcc" ] || continue
        tool=$(dirname "$(readlink -f "$nvcc")")/compute-sanitizer
        [ -x "$tool" ] && break
        tool=
    done
if [ -z "${tool:-}" ]; then
    echo "compute-sanitizer was not found (it comes with the CUDA toolkit, beside nvcc): its checks are left out"
    exit 0
fi

check() { # name of the check
    # PyTorch's pool would hide reads past the end of a tensor; what captures graphs needs it, and is in other files.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 ASL_FAST_EXAMPLES=${ASL_FAST_EXAMPLES:-2} \
        timeout --kill-after=4 "$seconds" "$tool" --tool "$1" --error-exitcode 9 --target-processes all \
        "$python" -m pytest -q -m gpu -p no:cacheprovider tests/kernels/test_cuda_*.py >"$logs/$1.log" 2>&1
    local status=$?
    if [ $status -eq 0 ]; then
        echo "$1: passed, $(tail -n 1 "$logs/$1.log")"
    elif [ $status -eq 124 ] && ! grep -qE '^========= +(Invalid|Uninit|Error|Barrier|Race|Program hit)' "$logs/$1.log"; then
        echo "$1: nothing found in the $seconds s there were, in which not all tests ran"
    else
        echo "$1: status $status; the end of $logs/$1.log:"
        tail -n 15 "$logs/$1.log"
        return 1
    fi
}

status=0
running=()
for name in memcheck racecheck synccheck initcheck; do
    check "$name" &
    running+=($!)
done
for process in "${running[@]}"; do wait "$process" || status=1; done
exit $status
