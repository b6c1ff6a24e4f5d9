# SPDX-License-Identifier: Apache-2.0
# make demo     train, evaluate and print a table on synthetic recordings       make test   everything CI runs
# make demo-video  from video files to actions: writes clips, trains on them, finds their actions, shows them
# make build    compile what changed in csrc            make lint    ruff, mypy, spelling, C++ format
# make format   write what lint checks                  make bench   every op and job against other ways, quickly
# make fuzz     drawn files and operands, thousands of each
# make docs     the documentation site, in build/docs   make wheels wheels for both architectures, in dist
# make gpu      build, test, measure and sanitize on a GPU, with the Python that has a CUDA torch, offline
# make rehearse what of that needs no GPU, in bare environments with each version of Triton
# make sanitize, make env, make clean
#
# Each works alone on a fresh clone with python3 (3.10 to 3.13), pip and a C++ compiler, and writes nothing outside it.
# PYTHON3 picks the interpreter that .venv is made with; pip's own variables (PIP_INDEX_URL, ...) are honoured.

PYTHON3 ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
WORKERS ?= 2
BUILD_TOOLS := setuptools wheel pybind11 ninja
# Versions of Triton beside the one of constraints.txt that the kernels are compiled with, where its wheels are.
OTHER_TRITONS := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),3.5.1 3.6.0)
TRITONS := $(OTHER_TRITONS:%=build/triton/%/.complete)
# A namespace without a network, where the system lets us make one.
OFFLINE = PIP_NO_INDEX=1 PIP_INDEX_URL=http://127.0.0.1:9 $$(unshare -rn true 2>/dev/null && echo unshare -rn)
GPU_PYTHON = $(if $(filter command environment,$(firstword $(origin PYTHON3))),PYTHON=$(PYTHON3))
REHEARSE = TRITON_CACHE_DIR=$(SCRATCH)/triton-$(1) OUT=build/rehearsal/logs-$(1) PYTHON=build/rehearsal/$(1)/bin/python \
	OMP_NUM_THREADS=1 REHEARSAL=--once WORKERS=$(WORKERS) $(OFFLINE) benchmarks/gpu.sh --rehearse
# Two targets at once; what a command prints is shown when it ends.
SIDE_BY_SIDE = $(MAKE) --no-print-directory -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)

# Whatever a tool would leave in the home directory or in /tmp stays under build/. Sockets have a length limit: a clone
# in a very deep folder keeps the system's TMPDIR.
SCRATCH := $(CURDIR)/build/scratch
TMPDIR := $(shell d="$(SCRATCH)/tmp"; mkdir -p "$$d"; [ $${#d} -lt 70 ] && echo "$$d" || echo "$${TMPDIR:-/tmp}")
export TMPDIR
# Code that nvcc warns of does not pass; who installs the package with another compiler only reads its warnings.
export ASL_FAST_WERROR ?= 1
export PIP_NO_CACHE_DIR := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_PROGRESS_BAR := off
export XDG_CACHE_HOME := $(SCRATCH)/cache
export TRITON_CACHE_DIR := $(SCRATCH)/triton
export TORCHINDUCTOR_CACHE_DIR := $(SCRATCH)/inductor
export CUDA_CACHE_PATH := $(SCRATCH)/cuda

.PHONY: demo demo-video test build lint format cpp-test bench test-gpu gpu rehearse fuzz sanitize docs wheels env clean

demo: $(VENV)/.runtime
	$(PYTHON) -m asl_fast.train --dataset multithumos --preset smoke

# Three minutes on two cores: clips whose actions are known, training on their features, detection in clips that it has
# not seen, how far the ends of the actions are off, and a page on which the clips play.
SHAPES = build/demo-video
demo-video: $(VENV)/.video
	$(PYTHON) -m examples.video.moving_shapes $(SHAPES)
	$(PYTHON) -m asl_fast.train --annotations $(SHAPES)/actions.json --videos $(SHAPES)/videos --window 8 --stride 4 \
		--video-cache $(SHAPES)/features --preset smoke --epochs 45 --output $(SHAPES)/run --overwrite --threads 1
	$(PYTHON) -m asl_fast.detect --run $(SHAPES)/run --videos $(SHAPES)/videos --video-cache $(SHAPES)/features \
		--output $(SHAPES)/found.json --format json,srt --min-score 0.15 --score-threshold 0.15
	$(PYTHON) -m asl_fast.report --run $(SHAPES)/run --videos $(SHAPES)/videos
	$(PYTHON) -m examples.video.compare $(SHAPES)/actions.json $(SHAPES)/found.json 0.16

# C++ compiles while pip unpacks, and what is compiled for the tests is compiled before they start.
test: $(VENV)/.tools
	$(SIDE_BY_SIDE) $(VENV)/.dev cpp-test
	$(SIDE_BY_SIDE) build $(TRITONS)
	$(SIDE_BY_SIDE) lint rehearse
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n $(WORKERS) --dist worksteal --timeout 300

build: $(VENV)/.runtime
	$(PYTHON) setup.py -q build_ext --inplace --strict

lint: $(VENV)/.dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib
	$(VENV)/bin/clang-format --dry-run -Werror $$(find csrc tests/cpp tests/cuda_on_host -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

format: $(VENV)/.dev
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
	$(VENV)/bin/clang-format -i $$(find csrc tests/cpp tests/cuda_on_host -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

# C++ tests, and the CUDA kernels for the CPU that pytest takes.
cpp-test: $(VENV)/.tools
	$(PYTHON) csrc/native_build.py

# Everything a machine with a GPU can tell, in one call of at most nine minutes; its tests and checks alone. Both take
# the Python there is with a CUDA build of torch (PYTHON3 names another) and make no environment of their own.
gpu:
	$(GPU_PYTHON) benchmarks/gpu.sh

test-gpu:
	$(GPU_PYTHON) benchmarks/gpu.sh build tests sanitizer

# The same without a GPU, where nothing is installed that a bare machine lacks and no network is to be had: with the
# oldest version of Triton that is supported, the one after, and the one of constraints.txt.
rehearse: $(VENV)/.dev $(TRITONS)
	$(foreach version,$(OTHER_TRITONS),$(PYTHON) .ci/bare_venv.py build/rehearsal/$(version) build/triton/$(version) && \
		$(call REHEARSE,$(version)) && )true
	$(if $(OTHER_TRITONS),$(PYTHON) .ci/bare_venv.py build/rehearsal/newest && $(call REHEARSE,newest))

# What of a wheel is needed to compile for sm_90 is some 500 MB, and is kept.
build/triton/%/.complete: | $(VENV)/.tools
	@echo "fetching triton $*"
	@$(PIP) download -q --no-deps --only-binary :all: -d build/triton/$*-wheel triton==$*
	@$(PYTHON) .ci/unpack_triton.py build/triton/$*-wheel build/triton/$*
	@rm -r build/triton/$*-wheel
	@touch $@

# The quick table (BENCH="--op soft_nms" picks from it), then pytest-benchmark's statistics of the smallest cases.
bench: $(VENV)/.dev build
	$(PYTHON) benchmarks/run.py --quick $(BENCH)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q --benchmark-enable --benchmark-only --benchmark-columns=min,median,rounds \
		tests/test_benchmarks_cases.py

# What the tests draw, drawn often: 32 kinds of files and a thousand of each, then operands for every operator.
FILES ?= 1000
OPERANDS ?= 10000
fuzz: $(VENV)/.dev build
	ASL_FAST_FUZZ_DRAWS=$(FILES) OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n $(WORKERS) tests/data/features/test_fuzz.py \
		tests/data/annotations/test_fuzz.py
	ASL_FAST_FUZZ_DRAWS=$(OPERANDS) OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n $(WORKERS) -k 'not benchmark' tests/ops tests/evaluation

# C++ operators and, on the CPU, CUDA kernels under the address and undefined-behaviour sanitizers, driven by the tests.
# What a sanitizer prints before it ends the process must not be captured.
sanitize: $(VENV)/.dev
	ASL_FAST_SANITIZE=1 $(PYTHON) setup.py -q build_ext --inplace --strict
	LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 ASL_FAST_SANITIZE=1 \
		$(PYTHON) -m pytest -q --capture=sys tests/ops tests/evaluation $(wildcard tests/kernels/test_cuda_*.py); \
		status=$$?; $(MAKE) --no-print-directory build && exit $$status

# A warning is an error. What the theme says about its own future is no warning of the site's.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet
	@echo "open build/docs/index.html"

# Wheels for CPython 3.10 to 3.14 on x86-64 and aarch64, compiled by zig, and the source archive; each is checked by
# auditwheel and twine, and installed and run by an interpreter that is here or that Debian has, for aarch64 on an
# emulated processor. WHEELS="--python 3.12" picks from them.
wheels: $(VENV)/.dev
	$(PIP_INSTALL) --no-build-isolation -e '.[wheels]'
	$(PYTHON) -m csrc.wheels $(WHEELS)

env: $(VENV)/.runtime
	$(PYTHON) -m asl_fast.env

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis asl_fast/_native*.so asl_fast/_build_info.json
	find asl_fast kernels csrc tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# A venv without pip, as on systems that package ensurepip apart, is filled by the pip beside PYTHON3.
PIP = $$($(PYTHON) -c 'import pip' 2>/dev/null && echo $(PYTHON) -m pip || echo $(PYTHON3) -m pip --python $(PYTHON))
PIP_INSTALL = @$(PIP) install -q -c constraints.txt

$(PYTHON):
	@$(PYTHON3) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 13) or sys.exit(f"asl_fast needs Python 3.10 to 3.13, $(PYTHON3) is {v[0]}.{v[1]}; try: make PYTHON3=python3.12")'
	$(PYTHON3) -m venv $(VENV) || $(PYTHON3) -m venv --without-pip $(VENV)

$(VENV)/.tools: constraints.txt | $(PYTHON)
	$(PIP_INSTALL) $(BUILD_TOOLS)
	@touch $@

$(VENV)/.runtime: pyproject.toml setup.py constraints.txt $(VENV)/.tools
	@echo "installing asl_fast and what it needs into $(VENV)"
	$(PIP_INSTALL) --no-build-isolation -e .
	@touch $@

$(VENV)/.video: $(VENV)/.runtime
	$(PIP_INSTALL) --no-build-isolation -e '.[video]'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "installing what the tests need into $(VENV)"
	$(PIP_INSTALL) --no-build-isolation -e '.[dev]'
	@touch $@
