# SPDX-License-Identifier: Apache-2.0
"""One person left out: everything of the others is for training, each person's recordings are one sequence.

It is how wearable sensors are scored (Bock et al., "Temporal Action Localization for Inertial-based Human Activity
Recognition", IMWUT 2024): as many detectors as people, each scored on the one that it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from asl_fast.data.annotations.video import Video
from asl_fast.data.signals.recordings import SignalRecordings


def leave_one_out(recordings: SignalRecordings, left_out: int) -> SignalRecordings:
    """Make one sequence of each person's recordings: subset ``test`` for the one left out, ``train`` for all others.

    Args:
        recordings: All recordings; their sources are people.
        left_out: One of these.

    Returns:
        Sequences with names such as ``user07``, a person's recordings following in the order of their names.

    Raises:
        ValueError: When there is no such person, or nobody else.
    """
    videos, people, noun = recordings.annotations.videos, recordings.sources, recordings.source_noun
    everyone = sorted({people[key] for key in videos})
    if left_out not in everyone:
        raise ValueError(f"left_out_{noun} {left_out} is not among the {noun}s {', '.join(map(str, everyone))}")
    if len(everyone) == 1:
        raise ValueError(f"left_out_{noun} {left_out} is the only {noun}, so nobody is left to train on")
    joined, signals, sources = {}, {}, {}
    for person in everyone:
        parts = [videos[key] for key in sorted(videos) if people[key] == person]
        name, subset = f"{noun}{person:02d}", "test" if person == left_out else "train"
        joined[name] = replace(_joined(parts, recordings), id=name, subset=subset)
        signals[name] = np.concatenate([recordings.signals[part.id] for part in parts])
        sources[name] = person
    return replace(
        recordings,
        signals=signals,
        annotations=replace(recordings.annotations, videos=joined),
        sources=sources,
        split=f"{noun} {left_out} left out, one sequence per {noun}",
    )


def _joined(parts: Sequence[Video], recordings: SignalRecordings) -> Video:
    """Put recordings behind one another; times count from the beginning of the first."""
    segments, samples = [], 0
    for part in parts:
        segments.append(part.segments_sec + samples / recordings.rate_hz)
        samples += len(recordings.signals[part.id])
    return replace(
        parts[0],
        duration_sec=samples / recordings.rate_hz,
        segments_sec=np.concatenate(segments),
        labels=np.concatenate([part.labels for part in parts]),
    )
