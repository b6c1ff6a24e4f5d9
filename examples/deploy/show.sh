#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to a model that runs without asl_fast, and to asl_fast on a machine without a compiler: trains the
# smoke twin, exports it in every format, runs each file without what it promises not to need, builds a wheel, installs
# that in an environment of its own and runs soft-NMS there.
#
#   examples/deploy/show.sh [FOLDER]        FOLDER takes everything; build/deploy unless given
#
#   PYTHON=...       a Python with asl_fast's dependencies and those of its extras export and wheels; unless given, the
#                    clone makes its own environment
#   WHEEL=0          leave the wheel out, which takes minutes to compile
. "$(dirname "$0")/../fresh_clone.sh" deploy -c constraints.txt --no-build-isolation -e '.[export,wheels]' -- "$@"

say "train"
"$python" -m asl_fast.train --dataset multithumos --preset smoke --output "$out/run" --overwrite
"$python" examples/results/twin_features.py multithumos smoke "$out/features"
recording=$(find "$out/features" -name '*.npy' | sort | head -1)

say "export"
"$python" -m asl_fast.export --run "$out/run" --output "$out/exported"

say "the weights, by asl_fast"
"$python" -m asl_fast.detect --run "$out/exported" --features "$recording" --output "$out/detections.json"

say "the ONNX file, in an environment of numpy and onnxruntime alone"
"$python" -m venv --without-pip "$out/onnx"
"$python" -m pip --python "$out/onnx/bin/python" install -q numpy onnxruntime
"$out/onnx/bin/python" -I examples/deploy/alone.py "$out/exported/model.onnx" "$recording" "$out/detections.json"

say "the graph, by PyTorch alone"
"$python" -I examples/deploy/alone.py "$out/exported/model.pt2" "$recording" "$out/detections.json"

if [ "${WHEEL:-1}" != 0 ]; then
  say "a wheel for this Python, without its CUDA part"
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  ASL_FAST_CUDA=0 "$python" -m csrc.wheels --python "$version" --machine "$(uname -m)" --output "$out/dist"
  say "installed in an environment that has nothing else"
  "$python" -m venv --clear --without-pip "$out/bare"
  "$python" -m pip --python "$out/bare/bin/python" install -q --no-deps --no-index "$out"/dist/*.whl
  "$out/bare/bin/python" -I csrc/wheels/soft_nms_check.py
fi

say "everything is in $out"
