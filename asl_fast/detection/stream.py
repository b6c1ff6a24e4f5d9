# SPDX-License-Identifier: Apache-2.0
"""Detection while a recording still grows: each action is told once nothing that is still to come can change it.

What the detector says at a point is final when the input reaches as far beyond it as the receptive field
(`asl_fast.models.windows`). Suppression compares detections that overlap, so that a group of candidates, each of which
overlaps another, is final when no point that is still to be computed can add one that overlaps them: when the group
ended longer ago than the longest action. Memory holds the features within the receptive field and the groups that are
open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asl_fast.data.grid import FeatureGrid
from asl_fast.detection.trained import TrainedDetector
from asl_fast.models.postprocess import Detections, detect, joined, with_length
from asl_fast.models.receptive_field import receptive_field
from asl_fast.models.windows import UnboundedReachError, Window, window_candidates
from asl_fast.training.distributed import uses_bf16

_OPEN_LENGTHS = 16


@dataclass(frozen=True)
class StreamedAction:
    """An action that is certain.

    Attributes:
        start_sec: When it begins.
        end_sec: When it ends.
        label: Its class.
        score: How sure the detector is.
        known_at_sec: How far the recording was read when it became certain.
    """

    start_sec: float
    end_sec: float
    label: str
    score: float
    known_at_sec: float

    @property
    def delay_sec(self) -> float:
        """Seconds from its end until it was certain."""
        return self.known_at_sec - self.end_sec


class StreamDetector:
    """Takes feature vectors as they come, gives actions once they are certain.

    Args:
        trained: A detector with bounded receptive field and without absolute positions, which count from the end of a
            recording.
        grid: Where feature vectors lie in time.
        least_score: Detections of at least this score are told, and candidates of at least this score are compared.
        longest_sec: No action is longer; None takes twice the length at which the coarsest level of the pyramid
            begins, which is where the longest of training fall.
        core_grid: Grid steps that are computed at a time, rounded up to what the pyramid needs.

    Raises:
        UnboundedReachError: When the detector looks at recordings as a whole.
        ValueError: For a score or length that cannot be.
    """

    def __init__(
        self,
        trained: TrainedDetector,
        grid: FeatureGrid,
        *,
        least_score: float = 0.3,
        longest_sec: float | None = None,
        core_grid: int = 16,
    ) -> None:
        reach = receptive_field(trained.config.model)
        if reach is None or trained.config.model.positions == "absolute":
            raise UnboundedReachError(
                "this detector looks at a recording as a whole (full attention, or absolute positions), so that "
                "nothing is certain before its end; train with model.attention_windows above 0 and model.positions none"
            )
        if not 0 < least_score < 1:
            raise ValueError(f"--least-score must lie between 0 and 1, found {least_score:g}")
        if longest_sec is not None and not longest_sec > 0:
            raise ValueError(f"--longest must be above 0 s, found {longest_sec:g}")
        inference = trained.config.inference
        self._config = replace(
            inference,
            score_threshold=max(least_score, inference.score_threshold),
            min_score=max(least_score, inference.min_score),
        )
        self._trained, self._grid = trained, grid
        self._autocast = uses_bf16(trained.config.precision, next(trained.detector.parameters()).device)
        multiple = trained.detector.length_multiple
        self._before, self._after, self._core = (
            -(-steps // multiple) * multiple for steps in (reach.left_grid, reach.right_grid, max(1, core_grid))
        )
        # Half lengths of the coarsest level reach to twice where they begin, lengths to four times.
        longest = 4 * trained.config.model.ranges_grid[-1][0]
        self._longest_grid = longest if longest_sec is None else longest_sec / grid.step_sec
        self._features: list[Tensor] = []
        self._first = 0  # step of the first of these
        self._taken = 0  # points before this step are computed
        self._open: list[Detections] = []

    @property
    def longest_sec(self) -> float:
        """No action is longer."""
        return self._longest_grid * self._grid.step_sec

    @property
    def _num_steps(self) -> int:
        return self._first + len(self._features)

    def add(self, features: Iterable[Tensor]) -> Iterator[StreamedAction]:
        """Take further feature vectors (feature_dim,); give the actions that become certain by them."""
        for vector in features:
            self._features.append(vector)
            if self._num_steps >= self._taken + self._core + self._after:
                self._compute(self._taken + self._core)
                yield from self._certain(self._taken - self._longest_grid)

    def end(self) -> Iterator[StreamedAction]:
        """Give all that is left, at the end of the recording."""
        while self._taken < self._num_steps:
            self._compute(min(self._taken + self._core, self._num_steps))
        yield from self._certain(float("inf"))

    def _compute(self, until: int) -> None:
        """Find the candidates at the points up to a step."""
        window = Window(
            max(0, self._taken - self._before), min(until + self._after, self._num_steps), self._taken, until
        )
        part = torch.stack(self._features[window.start - self._first : window.stop - self._first])
        levels = window_candidates(
            self._trained.detector, part, window, self._num_steps, self._config, autocast=self._autocast
        )
        found = joined(levels)
        short = found.segments[:, 1] - found.segments[:, 0] <= self._longest_grid
        self._open.append(Detections(*(each[short].cpu() for each in (found.segments, found.scores, found.labels))))
        self._taken = until
        unneeded = max(0, until - self._before) - self._first
        del self._features[:unneeded]
        self._first += unneeded

    def _certain(self, before_grid: float) -> Iterator[StreamedAction]:
        """Close the groups that end before a step, and give what suppression leaves of them."""
        if not self._open:
            return
        candidates = joined(self._open)
        order = candidates.segments[:, 0].sort(stable=True).indices
        segments = candidates.segments[order]
        ends = segments[:, 1].cummax(0).values if len(order) else segments[:, 1]
        # A group begins where all before have ended.
        begins = torch.ones(len(order), dtype=torch.bool)
        begins[1:] = segments[1:, 0] >= ends[:-1]
        group = begins.cumsum(0) - 1
        group_end = torch.full((int(begins.sum()),), -torch.inf, dtype=torch.float64)
        group_end = group_end.scatter_reduce(0, group, segments[:, 1].double(), "amax")
        closed = (group_end < before_grid)[group] if len(order) else begins
        # What goes on without a rest would be held for ever: of that, the oldest is told as it is.
        closed |= segments[:, 1] < before_grid - _OPEN_LENGTHS * self._longest_grid
        done, rest = order[closed], order[~closed]
        self._open = [_chosen(candidates, rest)]
        if not len(done):
            return
        until_sec = float(self._grid.to_sec(float(self._num_steps - 1))) + self._grid.window_frame / 2 / self._grid.fps
        (found,) = detect(
            [[_chosen(candidates, done)]], grids=[self._grid], durations_sec=[until_sec], config=self._config
        )
        found = with_length(found)
        rows = sorted(
            zip(found.segments.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True),
            key=lambda row: row[0],
        )
        for (start, end), label, score in rows:
            if score >= self._config.min_score:
                yield StreamedAction(start, end, self._trained.class_names[label], score, until_sec)


def _chosen(candidates: Detections, rows: Tensor) -> Detections:
    return Detections(candidates.segments[rows], candidates.scores[rows], candidates.labels[rows])
