# SPDX-License-Identifier: Apache-2.0
"""Switches that must be set before anything else is imported."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    # Triton reads the variable when @triton.jit decorates, so it has to be set before any kernel module is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Call what pytest-benchmark times once, without timing it, unless --benchmark-enable; it need not be installed."""
    if hasattr(config.option, "benchmark_disable") and not config.option.benchmark_enable:
        config.option.benchmark_disable = True
