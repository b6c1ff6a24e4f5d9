# SPDX-License-Identifier: Apache-2.0
"""What published methods reach by a track's own protocol, to be printed beside a run's numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedSpotting:
    """A published method.

    Attributes:
        method: Its name.
        detection_rate: See `asl_fast.evaluation.spotting.Spotting`.
        false_positive_rate: Likewise.
        jaccard: Likewise.
    """

    method: str
    detection_rate: float
    false_positive_rate: float
    jaccard: float


PUBLISHED: dict[str, tuple[PublishedSpotting, ...]] = {
    "shrec22": (
        PublishedSpotting("Causal TCN", 0.8003, 0.2552, 0.6845),
        PublishedSpotting("2ST-GCN 5F", 0.7378, 0.1042, 0.6720),
        PublishedSpotting("TN-FSM+JD", 0.7708, 0.1823, 0.6582),
        PublishedSpotting("Stronger", 0.7188, 0.3299, 0.5915),
        PublishedSpotting("TN-FSM", 0.7274, 0.2674, 0.5855),
        PublishedSpotting("2ST-GCN 1F", 0.6840, 0.1858, 0.5815),
        PublishedSpotting("TN-FSM+JD+SC", 0.7448, 0.3212, 0.5735),
        PublishedSpotting("Stronger+EN", 0.7031, 0.3403, 0.5645),
    ),
}
"""By track: counted from the participants' result files that the organisers publish, best Jaccard index first.

All of these are online: they see no frame after the one they decide at, where a detector of this package sees the whole
recording. They are quoted beside it with that said.
"""
