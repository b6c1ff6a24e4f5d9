# SPDX-License-Identifier: Apache-2.0
"""The options of every command that turns a network's candidates into detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

_NUMBERS = (
    "score_threshold",
    "candidates_per_level",
    "min_length_grid",
    "nms_sigma",
    "nms_iou_threshold",
    "min_score",
    "max_segments",
)


@dataclass(frozen=True)
class PostProcessing:
    """What differs from the post-processing that the run was trained with.

    An option that has no effect beside the way of suppression is refused, given here; what the run was trained with may
    hold some.

    Attributes:
        score_threshold: Candidates must score more; this and what follows is as in training unless given.
        candidates_per_level: Best-scoring (point, class) pairs kept per recording and level.
        min_length_grid: Candidates must be longer, in grid steps.
        nms: How overlapping detections are suppressed.
        nms_sigma: Width of the Gaussian decay; of "gaussian".
        nms_iou_threshold: tIoU from which "linear" decays and "hard" removes.
        min_score: Detections whose score, decayed or with --nms none as it is, falls below are dropped, except the best
            of each class; --score-threshold drops that one too.
        max_segments: Detections kept per recording, also with --nms none; 0 keeps all.
        class_agnostic: Whether to suppress across classes; not of "none".
        voting_threshold: Average boundaries over candidates of at least this tIoU; "off" does not. Not of "none".
    """

    score_threshold: float | None = None
    candidates_per_level: int | None = None
    min_length_grid: float | None = None
    nms: Literal["as-trained", "gaussian", "linear", "hard", "none"] = "as-trained"
    nms_sigma: float | None = None
    nms_iou_threshold: float | None = None
    min_score: float | None = None
    max_segments: int | None = None
    class_agnostic: Literal["as-trained", "yes", "no"] = "as-trained"
    voting_threshold: float | Literal["off"] | None = None

    def changes(self) -> dict[str, Any]:
        """Return what was given, by the names of `asl_fast.models.config.InferenceConfig`."""
        chosen = {name: getattr(self, name) for name in _NUMBERS}
        found = {name: value for name, value in chosen.items() if value is not None}
        if self.nms != "as-trained":
            found["nms"] = self.nms
        if self.class_agnostic != "as-trained":
            found["class_agnostic"] = self.class_agnostic == "yes"
        if self.voting_threshold is not None:
            found["voting_threshold"] = None if self.voting_threshold == "off" else self.voting_threshold
        return found
