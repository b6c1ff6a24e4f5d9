#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ASL inside ActionFormer and OpenTAD: trains each with it, and ends in a table beside the originals.
#
#   ACTIONFORMER_DIR=DIR OPENTAD_DIR=DIR examples/integrations.sh [FOLDER]
#
# The variables name checkouts; without one, a small stand-in with the same interface is used. ActionFormer needs
# pip install pandas joblib pyyaml, OpenTAD pip install mmengine einops, and the NMS of both a C++ compiler.
# FOLDER takes a file of numbers for each; a new folder for temporary files otherwise. PYTHON is a Python with asl_fast's
# dependencies; unless given, a fresh clone makes its own environment.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || make --no-print-directory build
folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
# In two processes: the compiled NMS of the two have one name.
for project in actionformer opentad; do
    "$python" -m "examples.$project.train" --json "$folder/$project.json"
    echo
done
"$python" -m examples.comparison "$folder/actionformer.json" "$folder/opentad.json"
