# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.kernels import on_gpu
from tests.kernels.cuda_on_host import cuda_device as cuda_device
from tests.kernels.on_gpu import triton_launchers as triton_launchers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu.mark(items)
    if most := os.environ.get("ASL_FAST_EXAMPLES"):  # under a sanitizer, which is slow
        for item in items:
            draw_at_most(item, int(most))


def draw_at_most(item: pytest.Item, most: int) -> None:
    """Limit the examples that hypothesis draws for a test, whatever the test asks for."""
    test = getattr(item, "obj", None)
    chosen = getattr(test, "_hypothesis_internal_use_settings", None)
    if chosen is not None:
        limited = settings(chosen, max_examples=min(most, chosen.max_examples))
        getattr(test, "__func__", test)._hypothesis_internal_use_settings = limited
