# SPDX-License-Identifier: Apache-2.0
"""One line for each epoch: every term of the loss, the scores, and the time that is left."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from asl_fast.evaluation.protocols import ProtocolResult
from asl_fast.training.scoring import summary

# Numbers of an epoch that are no term of the loss.
_OTHERS = frozenset({"lr", "grad_norm", "num_positives", "padding", "seconds"})
_INDENT = "    "


class EpochLines:
    """Writes the lines of a run.

    Args:
        first_epoch: Epochs that were done before, which say nothing about the speed of this process.
        total_epochs: All epochs of the run.
    """

    def __init__(self, first_epoch: int, total_epochs: int) -> None:
        self._first_epoch, self._total = first_epoch, total_epochs
        self._started = time.perf_counter()

    def line(self, epoch: Mapping[str, Any], scores: ProtocolResult | None) -> str:
        """Put an epoch that is over into words; on several lines where the terminal is too narrow for one.

        Args:
            epoch: Its record.
            scores: Of the evaluation after it, where one was due.
        """
        done = epoch["epoch"] + 1
        per_epoch = (time.perf_counter() - self._started) / max(1, done - self._first_epoch)
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        return epoch_line(epoch, self._total, scores, (self._total - done) * per_epoch, width)


def epoch_line(
    epoch: Mapping[str, Any],
    total_epochs: int,
    scores: ProtocolResult | None,
    seconds_left: float,
    width: int | None = None,
) -> str:
    """Put an epoch into words.

    Args:
        epoch: Its record.
        total_epochs: All epochs of the run.
        scores: Of the evaluation after it, where one was due.
        seconds_left: Until the last epoch is over.
        width: Columns of the terminal, beyond which a line goes on below; None is one line of any length.
    """
    parts = [f"epoch {epoch['epoch'] + 1:{len(str(total_epochs))}d}/{total_epochs}", f"{epoch['seconds']:.1f} s"]
    parts.append(f"left {_clock(seconds_left)}")
    if "padding" in epoch:  # records of older runs do not say
        parts.append(f"padding {epoch['padding']:.0%}")
    terms = [name for name, value in epoch.items() if isinstance(value, float) and name not in _OTHERS]
    parts += [f"{name} {_short(epoch[name])}" for name in terms]
    if scores is not None:
        parts += [f"{name} {value:.4f}" for name, value in summary(scores).items() if "@" not in name]
    return _laid_out(parts, width)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes


def _short(value: float) -> str:
    """Write a number in at most seven characters; a term that is switched off is 0."""
    if value == 0:
        return "0"
    return f"{value:.4f}" if 0.001 <= abs(value) < 100 else f"{value:.4g}" if abs(value) < 1e4 else f"{value:.1e}"


def _laid_out(parts: Sequence[str], width: int | None) -> str:
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}  {part}"
        if width is None or len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_INDENT + part)
    return "\n".join(lines)
