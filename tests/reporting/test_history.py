# SPDX-License-Identifier: Apache-2.0
"""Records of a run become curves over epochs, however many steps there were."""

from __future__ import annotations

import math
from typing import Any

from asl_fast.reporting.history import POINTS, history


def records(epochs: int, steps: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for epoch in range(epochs):
        for step in range(epoch * steps, (epoch + 1) * steps):
            found.append({"kind": "step", "epoch": epoch, "step": step, "total": float(step), "num_positives": 3})
        found.append({"kind": "epoch", "epoch": epoch, "step": (epoch + 1) * steps - 1, "total": 0.0, "seconds": 1.5})
    return found


def test_few_steps_stay_as_they_are() -> None:
    found = history(records(2, 2), 5)
    assert found is not None
    assert (found["epochs"], found["total_epochs"]) == (2, 5)
    assert found["steps"] == {"at": [0.5, 1, 1.5, 2], "total": [0, 1, 2, 3], "num_positives": [3, 3, 3, 3]}
    assert found["seconds"] == [1.5, 1.5]
    assert found["evaluations"] == {"at": []}


def test_many_steps_are_averaged() -> None:
    found = history(records(10, 1000), 10)
    assert found is not None
    total = found["steps"]["total"]
    assert len(total) == len(found["steps"]["at"]) == POINTS
    assert abs(sum(total) / POINTS - 4999.5) < 1 and total == sorted(total)


def test_a_term_that_begins_later_has_gaps() -> None:
    told = records(1, 4)
    told[2]["late"] = 7.0
    told[3]["total"] = math.nan
    found = history(told, 1)
    assert found is not None
    assert found["steps"]["late"] == [None, None, 7.0, None]
    assert found["steps"]["total"] == [0, 1, 2, None]


def test_scores_after_epochs() -> None:
    told = [*records(2, 2), {"kind": "evaluation", "epoch": 1, "step": 3, "average_map": 0.5, "map@0.5": 0.6}]
    found = history(told, 2)
    assert found is not None
    assert found["evaluations"] == {"at": [2.0], "average_map": [0.5], "map@0.5": [0.6]}


def test_nothing_before_the_first_epoch() -> None:
    assert history([], 3) is None
    assert history([{"kind": "step", "epoch": 0, "step": 0, "total": 1.0}], 3) is None
    assert history([{"kind": "epoch", "epoch": 0}], 3) is None
