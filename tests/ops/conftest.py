# SPDX-License-Identifier: Apache-2.0
"""A test file with ``OP = "name of the op"`` runs on every implementation of it that is quick on CPU tensors.

Tests that take the implementation as their argument ``name`` choose it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asl_fast.backend import backend
from tests.ops import checks

QUICK = ("reference", "cpu")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    op = getattr(metafunc.module, "OP", None)
    if op is not None and "name" not in metafunc.fixturenames:
        quick = [chosen for chosen in checks.implementations(op) if chosen.values[0] in QUICK]
        metafunc.parametrize("quick_implementation", quick, indirect=True)


@pytest.fixture(autouse=True)
def quick_implementation(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if not hasattr(request, "param"):
        yield None
        return
    with backend(request.param):
        yield request.param
