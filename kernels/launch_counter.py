# SPDX-License-Identifier: Apache-2.0
"""The counter by which the last program of a launch knows itself, for the Triton and the CUDA launchers."""

from __future__ import annotations

from threading import Lock, Thread

import torch
from torch import Tensor

COUNTERS = 1 << 14  # of a bank, 256 KB
WORDS = 4  # from one counter to the next: all pointers are multiples of 16, which kernels are compiled for


class _Bank:
    """Counters of one device, each zero whenever no launch that has it runs."""

    def __init__(self, device: torch.device) -> None:
        self.words = torch.zeros(COUNTERS, WORDS, dtype=torch.int32, device=device)
        self.given = 0
        self.ready: torch.cuda.Event | None = None
        if device.type == "cuda":
            self.ready = torch.cuda.Event()
            self.ready.record(torch.cuda.current_stream(device))

    def take(self) -> Tensor | None:
        """Give a counter that nobody else has; None once all are given."""
        if self.given == COUNTERS:
            return None
        self.given += 1
        return self.words[self.given - 1, :1]


_banks: dict[torch.device, _Bank] = {}
_of_streams: dict[tuple[torch.device, int], Tensor] = {}
_lock = Lock()


def counter(tensor: Tensor) -> Tensor:
    """Return (1,) int32 zero on the tensor's device; a launch's last program, or block, writes the zero again.

    Launches on one stream follow each other and share one. A launch that is being captured into a CUDA graph may be
    replayed beside them on any stream, so it keeps one to itself for good. All come from a bank that was made before:
    memory allocated during a capture, or while ``torch.compile(mode="reduce-overhead")`` warms up, is the graph's.
    """
    device = tensor.device
    if _is_captured(tensor):
        return _for_a_graph(device)
    key = (device, _stream(tensor))
    found = _of_streams.get(key)
    return found if found is not None else _for_a_stream(key)


def _is_captured(tensor: Tensor) -> bool:
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def _stream(tensor: Tensor) -> int:
    return int(torch._C._cuda_getCurrentRawStream(tensor.device.index)) if tensor.is_cuda else 0


def _for_a_graph(device: torch.device) -> Tensor:
    with _lock:
        found = _banks[device].take() if device in _banks else None
    # Without a bank yet, or with none left, the graph sets one of its own to zero each time.
    return found if found is not None else torch.zeros(1, dtype=torch.int32, device=device)


def _for_a_stream(key: tuple[torch.device, int]) -> Tensor:
    device, _ = key
    with _lock:
        bank = _banks.get(device)
        found = bank.take() if bank is not None else None
        if bank is None or found is None:
            bank = _banks[device] = _made_apart(device)
            found = bank.take()
        if bank.ready is not None:
            bank.ready.wait(torch.cuda.current_stream(device))
        assert found is not None
        return _of_streams.setdefault(key, found)


def _made_apart(device: torch.device) -> _Bank:
    """Make a bank in another thread: allocations that go to a graph are those of a thread or of a stream."""
    made: list[_Bank] = []
    thread = Thread(target=lambda: made.append(_Bank(device)))
    thread.start()
    thread.join()
    return made[0]
