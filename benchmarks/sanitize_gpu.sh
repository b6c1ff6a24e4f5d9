#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tests of the CUDA operators under compute-sanitizer: memory errors, then races in shared memory.
# sanitize_gpu.sh [python]. Without compute-sanitizer it says so and succeeds.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}

tool=$(command -v compute-sanitizer) ||
    for nvcc in "${NVCC:-}" "$(command -v nvcc)" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"; do
        # It lies beside the compiler, wherever the compiler's link points.
        [ -n "$nvcc" ] && [ -e "$nvcc" ] || continue
        tool=$(dirname "$(readlink -f "$nvcc")")/compute-sanitizer
        [ -x "$tool" ] && break
        tool=
    done
if [ -z "${tool:-}" ]; then
    echo "compute-sanitizer was not found (it comes with the CUDA toolkit, beside nvcc): memcheck and racecheck left out"
    exit 0
fi

status=0
for check in memcheck racecheck; do
    # PyTorch's pool would hide reads past the end of a tensor.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$tool" --tool $check --error-exitcode 9 --target-processes all \
        "$python" -m pytest -q -x -m gpu -k cuda -p no:cacheprovider
    found=$?
    # 5: pytest found no such test.
    [ $found -eq 0 ] || [ $found -eq 5 ] || { echo "$check: status $found"; status=1; }
done
exit $status
