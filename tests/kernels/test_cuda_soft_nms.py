# SPDX-License-Identifier: Apache-2.0
"""CUDA soft-NMS gives the bits of the reference and of the C++, in any order of threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from asl_fast.ops import _dispatch, _soft_nms_native
from tests.kernels import cuda_on_host, nms_cases


@pytest.fixture
def run(cuda_device: torch.device) -> Callable[..., nms_cases.Padded]:
    return nms_cases.runner(_dispatch.load("soft_nms", "cuda"), cuda_device)


@pytest.mark.parametrize("case", nms_cases.CASES, ids=lambda case: case.name)
def test_equals_the_reference(case: nms_cases.Case, run: Callable[..., nms_cases.Padded]) -> None:
    nms_cases.compare(case.arguments(), run)


@pytest.mark.parametrize("name", nms_cases.GOLDEN)
def test_equals_the_reference_on_golden_input(name: str, run: Callable[..., nms_cases.Padded]) -> None:
    for arguments in nms_cases.golden(name):
        nms_cases.compare(arguments, run)


@given(nms_cases.drawn())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_the_reference_on_drawn_input(
    run: Callable[..., nms_cases.Padded], arguments: nms_cases.Arguments
) -> None:
    nms_cases.compare(arguments, run)


def test_values_that_are_not_finite(run: Callable[..., nms_cases.Padded]) -> None:
    nms_cases.compare_not_finite(run)


def test_other_dtypes_and_layouts(run: Callable[..., nms_cases.Padded]) -> None:
    nms_cases.compare_layouts(run)


@pytest.mark.parametrize("voting_threshold", [0.0, 0.6])
def test_the_same_bits_in_any_order_of_threads(run: Callable[..., nms_cases.Padded], voting_threshold: float) -> None:
    arguments = nms_cases.scene(300, labels=3, videos=2, voting_threshold=voting_threshold)
    library = cuda_on_host.library()
    results: list[nms_cases.Padded] = []
    try:
        for seed in range(3):
            library.cuda_on_host_set_order(seed)
            results.append(run(arguments))
    finally:
        library.cuda_on_host_set_order(1)
    first: tuple[Tensor, ...] = results[0]
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_more_videos_than_blocks(run: Callable[..., nms_cases.Padded], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_soft_nms_native, "MOST_BLOCKS", 3)
    nms_cases.compare(nms_cases.scene(300, labels=2, videos=20, max_segments=4, voting_threshold=0.4), run)
