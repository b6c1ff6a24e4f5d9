# SPDX-License-Identifier: Apache-2.0
"""What every format writes down: recordings, and the actions that were found in each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Action(NamedTuple):
    """One action that was found.

    Attributes:
        start_sec: Where it begins, in seconds from the start of the recording.
        end_sec: Where it ends.
        label: Name of its class.
        score: How sure the detector is, in [0, 1].
    """

    start_sec: float
    end_sec: float
    label: str
    score: float


@dataclass(frozen=True)
class Recording:
    """One recording.

    Attributes:
        name: As its features were named.
        duration_sec: Its length.
        fps: Frames, or samples of a sensor, per second.
        actions: What was found, by falling score.
    """

    name: str
    duration_sec: float
    fps: float
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Origin:
    """Where detections come from.

    Attributes:
        detector: Name of the checkpoint.
        class_names: Every class the detector knows, found or not.
    """

    detector: str
    class_names: tuple[str, ...]


def in_time_order(actions: Iterable[Action]) -> list[Action]:
    """Sort actions by start, then end, then label."""
    return sorted(actions)


def milliseconds(action: Action) -> tuple[int, int]:
    """Return start and end in whole milliseconds, the end at least one later: formats refuse what has no length."""
    start = max(0, round(1000 * action.start_sec))
    return start, max(start + 1, round(1000 * action.end_sec))


def most_at_once(actions: Iterable[Action]) -> int:
    """Count the actions that are going on at the fullest moment; one that ends where another begins is over."""
    changes = sorted(change for each in actions for change in ((each.start_sec, 1), (each.end_sec, -1)))
    most = running = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most
