# SPDX-License-Identifier: Apache-2.0
# make build: recompiles what changed in csrc.
PYTHON := .venv/bin/python

.PHONY: build
build:
	@$(PYTHON) setup.py -q build_ext --inplace --strict
