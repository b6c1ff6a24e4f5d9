#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to the documentation: builds the site, which fails on any warning, and looks at every page in a
# browser, in light, in dark and on a narrow screen.
#
#   examples/site/show.sh [FOLDER]          FOLDER takes everything; build/site unless given
#
#   PYTHON=...       a Python with asl_fast's dependencies and those of its extra docs, and playwright; unless given, the
#                    clone makes its own environment
#   ASL_FAST_CHROMIUM=...  the browser; unless given, chromium or google-chrome on the path
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$root/build/site}
mkdir -p "$out"
out=$(cd "$out" && pwd)
clone=$out/clone

echo "== a fresh clone in $clone"
rm -rf "$clone"
git clone --quiet "$root" "$clone"
cd "$clone"
if [ -n "${PYTHON:-}" ]; then
  python=$PYTHON
  export PYTHONPATH=$clone
  ln -sfn ../kernels asl_fast/kernels  # where an installation has them
else
  make --no-print-directory build
  python=$clone/.venv/bin/python
  "$python" -m pip install -q -c constraints.txt --no-build-isolation -e '.[docs]' playwright
fi

echo "== the site"
NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict --quiet --site-dir "$out/docs"
find "$out/docs" -name '*.html' | wc -l | sed 's/$/ pages/'

echo "== every page in a browser"
"$python" -m examples.site.pictures "$out/docs" "$out/pictures"
