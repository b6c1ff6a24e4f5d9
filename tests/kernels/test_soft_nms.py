# SPDX-License-Identifier: Apache-2.0
"""Triton soft-NMS gives the bits of the reference and stays within its buffers."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import settings

pytest.importorskip("triton", minversion="3.5")

from asl_fast.kernels import soft_nms as kernels

from tests.kernels import soft_nms_cases as cases
from tests.kernels.fences import fenced


def run(given: cases.Arguments) -> cases.Padded:
    with fenced(some=len(given.scores) > 0):
        return kernels.soft_nms(given)


# Small, as a selection takes milliseconds when interpreted.
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_equals_the_reference(case: cases.Case) -> None:
    cases.compare(case._replace(count=min(case.count, 33)).arguments(), run)


def test_one_group_of_several_chunks() -> None:
    cases.compare(cases.scene(300, span=200.0, max_segments=5), run)


def test_equals_the_reference_on_golden_input() -> None:
    for arguments in cases.golden("soft_nms_n64", most=1):
        cases.compare(arguments, run)


@hypothesis.given(cases.drawn())
@settings(deadline=None, max_examples=4)
def test_equals_the_reference_on_drawn_input(arguments: cases.Arguments) -> None:
    cases.compare(arguments, run)


def test_values_that_are_not_finite() -> None:
    cases.compare_not_finite(run)


def test_other_dtypes_and_layouts() -> None:
    cases.compare_layouts(run, count=12)


def test_programs_take_several_videos_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "MOST_PROGRAMS", 2)
    monkeypatch.setattr(kernels, "BLOCK_CHUNKS", 2)
    monkeypatch.setattr(kernels, "CHUNK", 16)
    arguments = cases.scene(60, labels=2, videos=5, max_segments=4, voting_threshold=0.4)
    cases.compare(arguments, run)
    assert int(run(arguments)[3]) == 20
