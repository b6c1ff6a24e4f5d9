# SPDX-License-Identifier: Apache-2.0
"""Switches that must be set before anything else is imported."""

from __future__ import annotations

import os

import torch

if not torch.cuda.is_available():
    # Triton reads the variable when @triton.jit decorates, so it has to be set before any kernel module is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")
