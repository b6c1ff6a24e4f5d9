# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.kernels import on_gpu
from tests.kernels.cuda_on_host import cuda_device as cuda_device
from tests.kernels.on_gpu import triton_launchers as triton_launchers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu.mark(items)
