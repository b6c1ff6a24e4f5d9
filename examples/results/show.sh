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
#   ASL_FAST_CHROMIUM=...  the browser; unless given, chromium or google-chrome on the path
#   LARGE=1000,200   videos, and detections in each, of the large page whose time to open is measured
. "$(dirname "$0")/../fresh_clone.sh" show pandas pysubs2 webvtt-py pympi-ling label-studio-sdk playwright -- "$@"
formats=json,csv,label-studio,fiftyone,srt,vtt,elan

tested() { # RUN FEATURES FOLDER: links to the features of the videos that the run is scored on
  "$python" - "$@" << 'END'
import json, sys
from pathlib import Path

run, features, folder = map(Path, sys.argv[1:])
folder.mkdir(parents=True, exist_ok=True)
videos = json.loads((run / "ground_truth.json").read_text())["database"]
for path in features.iterdir():
    if path.stem in videos and not (link := folder / path.name).exists():
        link.symlink_to(path.resolve())
END
}

show() { # NAME FEATURES: page, pictures and formats of the run in $out/NAME
  local run=$out/$1
  say "$1: the page"
  local started=$SECONDS
  "$python" -m asl_fast.report --run "$run" --output "$out/$1.html"
  echo "written in $((SECONDS - started)) s"
  "$python" -m examples.results.pictures "$out/$1.html" "$out"
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
  tested "$out/own" "$OWN_DATA/features" "$out/own-features"
  show own "$out/own-features"
else
  say "OWN_DATA is not given: only the twin was trained"
fi
IFS=, read -r videos detections <<< "${LARGE:-1000,200}"
say "a large page: how long it takes to write, and from the start of loading to what is there"
"$python" -m benchmarks.page --videos "$videos" --detections "$detections" --output "$out/large.html" ||
  echo "not opened: what is said above is missing"

say "everything is in $out"
