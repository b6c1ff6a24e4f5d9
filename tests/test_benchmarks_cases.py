# SPDX-License-Identifier: Apache-2.0
"""Every benchmark's smallest cases: all sides compute the same, and, under ``make bench``, how long the op takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.measuring import check
from benchmarks.registry import Case, discover, small_cases
from benchmarks.timing import processors

CASES = [
    pytest.param(case, id=f"{name}-{case.name}")
    for name, cases in discover().items()
    for case in small_cases(cases("cpu"))
]


@pytest.fixture
def inputs(case: Case) -> Iterator[tuple[Any, ...]]:
    with processors(case.threads or 1):
        yield case.make_inputs()


@pytest.mark.parametrize("case", CASES)
def test_all_sides_compute_the_same(case: Case, inputs: tuple[Any, ...]) -> None:
    """A comparison of different work would be worthless."""
    assert case.baselines, "nothing to compare with"
    check(case, {"run": case.run, **case.baselines}, inputs)


@pytest.mark.parametrize("case", CASES)
def test_time(case: Case, inputs: tuple[Any, ...], benchmark: Any) -> None:
    """Timed by pytest-benchmark; without ``--benchmark-only`` called once."""
    result = benchmark(case.run, *inputs)
    leaves = torch.utils._pytree.tree_leaves(result)
    assert leaves and all(torch.as_tensor(leaf).isfinite().all() for leaf in leaves if leaf is not None)
