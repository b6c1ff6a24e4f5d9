# SPDX-License-Identifier: Apache-2.0
"""How many examples hypothesis draws where a sanitizer slows each of them down."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.conftest import draw_at_most


def test_a_limit_holds_whatever_the_test_asks_for() -> None:
    drawn: list[int] = []

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.integers())
    def test(number: int) -> None:
        drawn.append(number)

    draw_at_most(SimpleNamespace(obj=test), 3)  # type: ignore[arg-type]
    test()
    assert 1 <= len(drawn) <= 3
    draw_at_most(SimpleNamespace(obj=len), 3)  # type: ignore[arg-type]
