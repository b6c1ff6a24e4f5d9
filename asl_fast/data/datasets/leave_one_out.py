# SPDX-License-Identifier: Apache-2.0
"""One person left out: everything of the others is for training, each person's recordings are one sequence.

It is how wearable sensors are scored (Bock et al., "Temporal Action Localization for Inertial-based Human Activity
Recognition", IMWUT 2024): as many detectors as people, each scored on the one that it has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video


def join_recordings(
    parts: Sequence[Video], signals: Mapping[str, NDArray[Any]], sample_rate_hz: float, video_id: str, subset: str
) -> tuple[Video, NDArray[Any]]:
    """Put recordings behind one another.

    Args:
        parts: One or more, in the order in which they follow.
        signals: (N, channels) of each, by name.
        sample_rate_hz: Of the signals.
        video_id: Name of the whole.
        subset: What the whole is used for.

    Returns:
        The whole, times in seconds from its beginning, and its signal.
    """
    segments, begin = [], 0
    for part in parts:
        segments.append(part.segments_sec + begin / sample_rate_hz)
        begin += len(signals[part.id])
    whole = replace(
        parts[0],
        id=video_id,
        subset=subset,
        duration_sec=begin / sample_rate_hz,
        segments_sec=np.concatenate(segments),
        labels=np.concatenate([part.labels for part in parts]),
    )
    return whole, np.concatenate([signals[part.id] for part in parts])


def leave_one_out(
    videos: Mapping[str, Video],
    signals: Mapping[str, NDArray[Any]],
    people: Mapping[str, int],
    sample_rate_hz: float,
    left_out: int,
) -> tuple[dict[str, Video], dict[str, NDArray[Any]]]:
    """Make one sequence of each person's recordings: subset ``test`` for the one left out, ``train`` for all others.

    Args:
        videos: All recordings, by name.
        signals: Theirs.
        people: Whose they are.
        sample_rate_hz: Of the signals.
        left_out: A person.

    Returns:
        Sequences and their signals, by names such as ``user07``; a person's recordings follow in the order of names.

    Raises:
        ValueError: When there is no such person, or nobody else.
    """
    everyone = sorted({people[key] for key in videos})
    if left_out not in everyone:
        raise ValueError(f"left_out_user {left_out} is not among the users {', '.join(map(str, everyone))}")
    if len(everyone) == 1:
        raise ValueError(f"left_out_user {left_out} is the only user, so nobody is left to train on")
    joined, joined_signals = {}, {}
    for person in everyone:
        parts = [videos[key] for key in sorted(videos) if people[key] == person]
        name, subset = f"user{person:02d}", "test" if person == left_out else "train"
        joined[name], joined_signals[name] = join_recordings(parts, signals, sample_rate_hz, name, subset)
    return joined, joined_signals
