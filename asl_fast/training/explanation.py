# SPDX-License-Identifier: Apache-2.0
"""What is printed of a configuration that was derived from one's own data: each decision and why, and the histogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter

from asl_fast.data.custom.data import OwnData
from asl_fast.data.custom.decision import Decision
from asl_fast.data.report.lengths import count_levels, lengths_grid, typical_step_sec
from asl_fast.data.report.text import histogram
from asl_fast.models.config import UNBOUNDED_GRID
from asl_fast.training.config import TrainConfig


def explain(
    own: OwnData, derived: TrainConfig, config: TrainConfig, decisions: tuple[Decision, ...]
) -> tuple[str, ...]:
    """Say in lines to print what was decided, and how the lengths of instances fall to the levels of the pyramid.

    Args:
        own: The data.
        derived: What `asl_fast.training.own_preset` made of them.
        config: The same after options have set some fields otherwise, which is said of those that were decided on.
        decisions: Those by which it was derived.
    """
    source, model = own.source, config.model
    step_sec = typical_step_sec(source.train, own.steps, source.layout)
    lengths = lengths_grid(source.train, own.steps, source.layout)
    levels = count_levels(lengths, model.ranges_grid, step_sec, first_level=model.first_level)
    taken = [_as_taken(decision, derived, config) for decision in decisions]
    return ("derived from the data:", *(f"  {decision}" for decision in taken), *histogram(levels, step_sec))


def ranges_in_words(ranges_grid: Sequence[tuple[float, float]]) -> str:
    """Write regression ranges as 0-4-8-unbounded where each begins at the end of the one before."""
    edges = [["unbounded" if edge >= UNBOUNDED_GRID else f"{edge:g}" for edge in each] for each in ranges_grid]
    if all(before[1] == after[0] for before, after in pairwise(edges)):
        return "ranges " + "-".join([low for low, _ in edges] + edges[-1][1:])
    return "ranges " + ", ".join("-".join(each) for each in edges)


def _as_taken(decision: Decision, derived: TrainConfig, config: TrainConfig) -> Decision:
    """Return a decision, or what an option says in its place."""
    if not decision.field:
        return decision
    read = attrgetter(decision.field)
    given = read(config)
    if given == read(derived):
        return decision
    found = ranges_in_words(given) if isinstance(given, tuple) else given
    return replace(decision, value=f"{found} as asked for, not {decision.value}")
