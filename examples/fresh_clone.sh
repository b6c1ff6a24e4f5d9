# SPDX-License-Identifier: Apache-2.0
# How every script here that starts from a fresh clone begins. It is read in (". fresh_clone.sh NAME PIP_WORDS... -- FOLDER"),
# clones the checkout it lies in into FOLDER/clone, or build/NAME/clone, goes there, and leaves these behind:
#
#   out       the folder that takes everything
#   python    $PYTHON, which then runs the clone's own asl_fast; unless given, the Python of an environment that the clone
#             makes, with what "pip install PIP_WORDS" adds to it
#   say       prints a heading
set -euo pipefail

say() { printf '\n== %s\n' "$*"; }

name=$1
shift
packages=()
while [ "$1" != -- ]; do
  packages+=("$1")
  shift
done
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:-$root/build/$name}
mkdir -p "$out"
out=$(cd "$out" && pwd)

say "a fresh clone in $out/clone"
rm -rf "$out/clone"
git clone --quiet "$root" "$out/clone"
cd "$out/clone"
if [ -n "${PYTHON:-}" ]; then
  python=$PYTHON
  export PYTHONPATH=$PWD
  ln -sfn ../kernels asl_fast/kernels  # where an installation has them
  "$python" setup.py -q build_ext --inplace
else
  make --no-print-directory build
  python=$PWD/.venv/bin/python
  "$python" -m pip install -q "${packages[@]}" ||
    echo "packages are missing; what follows says which"
fi
