# SPDX-License-Identifier: Apache-2.0
"""Where the counters of launches come from, on streams, in graphs and while a graph is warmed up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from asl_fast.kernels import launch_counter
from asl_fast.kernels.launch_counter import counter

from tests.kernels import examples

SOMEWHERE = torch.zeros(3)


@pytest.fixture(autouse=True)
def _no_banks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(launch_counter, "_banks", {})
    monkeypatch.setattr(launch_counter, "_of_streams", {})
    yield


def capture(monkeypatch: pytest.MonkeyPatch, on: bool) -> None:
    monkeypatch.setattr(launch_counter, "_is_captured", lambda tensor: on)


def test_launches_of_a_stream_share_a_counter_and_streams_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    one = counter(SOMEWHERE)
    assert one.shape == (1,) and one.dtype == torch.int32 and one.item() == 0
    assert counter(SOMEWHERE) is one
    monkeypatch.setattr(launch_counter, "_stream", lambda tensor: 7)
    other = counter(SOMEWHERE)
    assert other.data_ptr() != one.data_ptr()


def test_each_captured_launch_keeps_a_counter_of_the_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    of_stream = counter(SOMEWHERE)
    capture(monkeypatch, True)
    captured = [counter(SOMEWHERE) for _ in range(5)]
    places = {x.data_ptr() for x in (of_stream, *captured)}
    assert len(places) == 6 and all(place % 16 == 0 for place in places)
    memory = of_stream.untyped_storage().data_ptr()
    assert all(x.untyped_storage().data_ptr() == memory for x in captured), "a graph has nothing to allocate"
    capture(monkeypatch, False)
    assert counter(SOMEWHERE) is of_stream


def test_a_graph_without_a_bank_or_with_an_empty_one_has_a_zero_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_counter, "COUNTERS", 2)
    capture(monkeypatch, True)
    alone = counter(SOMEWHERE)
    assert alone.item() == 0 and not launch_counter._banks
    capture(monkeypatch, False)
    counter(SOMEWHERE)
    (bank,) = launch_counter._banks.values()
    capture(monkeypatch, True)
    last, beyond = counter(SOMEWHERE), counter(SOMEWHERE)
    memory = bank.words.untyped_storage().data_ptr()
    assert last.untyped_storage().data_ptr() == memory != beyond.untyped_storage().data_ptr()
    assert beyond.item() == 0
    capture(monkeypatch, False)
    monkeypatch.setattr(launch_counter, "_stream", lambda tensor: 1)
    assert counter(SOMEWHERE).item() == 0
    (another,) = launch_counter._banks.values()
    assert another is not bank, "a stream gets a new bank when the old one is used up"


def test_a_bank_is_made_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where allocations of this thread or stream go to a graph's memory, those of another do not."""
    threads: list[int] = []
    zeros = torch.zeros

    def noting(*shape: int, **options: object) -> torch.Tensor:
        threads.append(threading.get_ident())
        return zeros(*shape, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch, "zeros", noting)
    counter(SOMEWHERE)
    assert len(threads) == 1 and threads[0] != threading.get_ident()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_reduced_overhead_warms_up_and_replays() -> None:
    """The first call happens while the graph's memory is in use, and later calls must not lose the counter."""
    op, given = (
        torch.ops.asl_fast.contrastive_similarity_loss,
        examples.arguments("contrastive_similarity_loss", "cuda"),
    )
    features, *others = (x.detach() if isinstance(x, torch.Tensor) else x for x in given)
    compiled = torch.compile(lambda moved: op(moved, *others), mode="reduce-overhead")
    for step in range(6):
        moved = features + step
        found = [x.clone() for x in compiled(moved)]
        for one, expected in zip(found, op(moved, *others), strict=True):
            torch.testing.assert_close(one, expected, equal_nan=True)
