#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to results that people look at: trains the smoke twin, and one's own data where they are given;
# writes the page of the run, pictures of it where a browser is there, and the detections in every format, each read back
# by the package it is made for. Sizes and times are printed.
#
#   examples/results/show.sh [FOLDER]       FOLDER takes everything; build/show unless given
#
#   PYTHON=...       a Python with asl_fast's dependencies; unless given, the clone makes its own environment
#   OWN_DATA=DIR     a folder with annotations.json and features/, such as the gestures of SHREC'22: also trains there
#   OWN_EPOCHS=5     for so many epochs
#   CHROMIUM=...     the browser; unless given, chromium or google-chrome on the path
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$root/build/show}
mkdir -p "$out"
out=$(cd "$out" && pwd)
clone=$out/clone
formats=json,csv,label-studio,fiftyone,srt,vtt,elan
say() { printf '\n== %s\n' "$*"; }

say "a fresh clone in $clone"
rm -rf "$clone"
git clone --quiet "$root" "$clone"
cd "$clone"
if [ -n "${PYTHON:-}" ]; then
  python=$PYTHON
  export PYTHONPATH=$clone
  "$python" setup.py -q build_ext --inplace
else
  make --no-print-directory build
  python=$clone/.venv/bin/python
  "$python" -m pip install -q pandas pysubs2 webvtt-py pympi-ling ||
    echo "no packages to read the formats back; the table below says which are missing"
fi

pictures() { # PAGE NAME: what the page looks like
  local browser=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
  if [ -z "$browser" ]; then
    echo "no browser, no pictures: open $1"
    return
  fi
  local shot=("$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=5000
    --user-data-dir="$out/browser")
  "${shot[@]}" --window-size=1280,860 --screenshot="$out/$2-timeline.png" "file://$1" 2> /dev/null
  "${shot[@]}" --window-size=1280,4000 --screenshot="$out/$2-whole.png" "file://$1" 2> /dev/null
  "${shot[@]}" --window-size=1280,860 --blink-settings=preferredColorScheme=0 --screenshot="$out/$2-dark.png" \
    "file://$1" 2> /dev/null
  "${shot[@]}" --print-to-pdf="$out/$2-print.pdf" "file://$1" 2> /dev/null
  (cd "$out" && wc -c "$2".html "$2"-*.png "$2"-print.pdf)
}

show() { # NAME FEATURES: page, pictures and formats of the run in $out/NAME
  local run=$out/$1
  say "$1: the page"
  local started=$SECONDS
  "$python" -m asl_fast.report --run "$run" --output "$out/$1.html"
  echo "written in $((SECONDS - started)) s"
  pictures "$out/$1.html" "$1"
  say "$1: detections in every format"
  "$python" -m asl_fast.detect --run "$run" --features "$2" --output "$out/$1-found/detections.json" --format "$formats"
  "$python" examples/results/read_back.py "$out/$1-found/detections.json"
  "$python" -m asl_fast.evaluate --ground-truth "$run/ground_truth.json" \
    --predictions "$out/$1-found/detections.csv" --tiou 0.3:0.7:0.1
}

say "the smoke twin"
mkdir -p "$out/twin-found" "$out/own-found"
"$python" -m asl_fast.train --dataset multithumos --preset smoke --output "$out/twin" --overwrite --logger csv
"$python" examples/results/twin_features.py multithumos smoke "$out/twin-features"
show twin "$out/twin-features"

if [ -n "${OWN_DATA:-}" ]; then
  say "the data in $OWN_DATA"
  "$python" -m asl_fast.train --annotations "$OWN_DATA/annotations.json" --features "$OWN_DATA/features" \
    --preset reduced --epochs "${OWN_EPOCHS:-5}" --warmup-epochs 1 --output "$out/own" --overwrite --logger csv
  show own "$OWN_DATA/features"
else
  say "OWN_DATA is not given: only the twin was trained"
fi
say "everything is in $out"
