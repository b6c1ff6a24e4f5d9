# SPDX-License-Identifier: Apache-2.0
"""Waiting for processes that are slow, and giving up on those that hang; here they are threads with one store."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from asl_fast.training import heartbeat
from asl_fast.training.heartbeat import Heartbeat, PeerHangsError

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL_SEC", 0.05)


def group(size: int, limit_sec: float) -> list[Heartbeat]:
    store = torch.distributed.HashStore()
    return [Heartbeat(store, rank, size, limit_sec) for rank in range(size)]


def test_meetings_keep_processes_in_step() -> None:
    members, order = group(3, 30.0), []

    def come(member: Heartbeat) -> None:
        for meeting in range(4):
            time.sleep(0.01 * member.rank)
            order.append(meeting)
            member.meet()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(come, members))
    assert order == sorted(order)
    assert len(order) == 12


def test_who_gets_on_is_waited_for_beyond_the_limit() -> None:
    waiting, slow = group(2, 0.4)

    def work() -> None:
        for _ in range(10):
            time.sleep(0.1)
            slow.beat()
        with slow.working():
            time.sleep(1.0)
        slow.meet()

    worker = threading.Thread(target=work)
    worker.start()
    waiting.meet()
    worker.join()
    assert not worker.is_alive()


def test_who_hangs_is_named() -> None:
    waiting, _, there = group(3, 0.2)
    there.store.set("meeting/1/2", "")
    with pytest.raises(PeerHangsError, match=r"process 1 has not got on for 0\.2 s"):
        waiting.meet()
