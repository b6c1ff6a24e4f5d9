# SPDX-License-Identifier: Apache-2.0
"""Drawn files: damaged copies of whole ones, and JSON of the right words in the wrong places."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.drawing import draws

DRAWS = draws(40)
"""Files drawn for each reader."""

fuzz = settings(
    max_examples=DRAWS,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module")
def bounded_memory() -> Iterator[None]:
    """Expect that no file, of a few hundred bytes each, makes its reader take 500 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 500 << 10, f"the readers took {grown_kib >> 10} MiB more"


def read_or_named(read: Callable[[], object], path: Path) -> None:
    """Read a file that may be damaged: it is read, or an expected error names it."""
    try:
        read()
    except (ValueError, OSError) as error:
        assert str(path) in str(error), f"an error that does not name the file: {error!r}"


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw a copy with bytes changed, cut out, put in or cut off; or anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        kind = draw(st.sampled_from(("set", "cut", "insert", "end", "zero")))
        if kind == "set" and content:
            content[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[place : place + draw(st.integers(1, 40))]
        elif kind == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=20))
        elif kind == "zero":
            stop = min(place + draw(st.integers(1, 64)), len(content))
            content[place:stop] = bytes(stop - place)
        else:
            del content[place:]
    return bytes(content)


def json_like(words: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """JSON whose keys and texts are mostly the words of a format, and whose numbers are mostly odd."""
    text = st.sampled_from(words) | st.text(max_size=4)
    numbers = st.integers(-2, 3) | st.sampled_from((2**31, 2**70, 1e12, 1e300, -0.0, float("nan"), float("inf")))
    leaf = st.none() | st.booleans() | numbers | st.floats(width=32) | text
    return st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=6), max_leaves=25
    )


def mixed(good: Any, anything: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Something of the form of ``good``, with any part of it in the place of which anything may stand."""
    if isinstance(good, dict):
        parts: st.SearchStrategy[Any] = st.fixed_dictionaries(
            {}, optional={key: mixed(value, anything) for key, value in good.items()}
        )
    elif isinstance(good, list):
        parts = st.lists(st.one_of([mixed(value, anything) for value in good]), max_size=3) if good else st.just([])
    else:
        parts = st.just(good)
    return st.one_of(parts, parts, parts, anything)
