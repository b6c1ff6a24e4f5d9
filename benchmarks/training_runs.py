# SPDX-License-Identifier: Apache-2.0
"""Many runs of ``python -m asl_fast.train``, each its own process and folder; what is finished is not repeated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from asl_fast.training.presets import VARIANTS
from asl_fast.training.run_folder import RunFolder
from asl_fast.wording import nearest

TRAIN = (sys.executable, "-m", "asl_fast.train")
LOG = "log.txt"


def check_asked(variants: Sequence[str], jobs: int) -> None:
    """Refuse what cannot be trained before anything is.

    Raises:
        ValueError: Naming the variant that is unknown, with the nearest that is known, or the option.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}; {nearest(variant, VARIANTS)}")
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, found {jobs}")


@dataclass(frozen=True)
class TrainingRun:
    """One run.

    Attributes:
        name: What it is called in messages.
        folder: Where it lies.
        words: Options of training, without the folder.
    """

    name: str
    folder: RunFolder
    words: tuple[str, ...]

    @property
    def is_finished(self) -> bool:
        """Whether its detections were scored, which is the last that a run does."""
        return self.folder.evaluation.exists()


@dataclass(frozen=True)
class Failure:
    """A run that ended before its scores were written.

    Attributes:
        run: The run.
        status: Exit status of its process.
        said: The last line it printed.
    """

    run: TrainingRun
    status: int
    said: str

    def __str__(self) -> str:
        log = self.run.folder.path / LOG
        return f"{self.run.name} failed with status {self.status}: {self.said or 'it said nothing'} ({log} has all)"


def carry_out(
    runs: Sequence[TrainingRun],
    *,
    jobs: int = 1,
    prefix: Sequence[str] = (),
    finished: Callable[[TrainingRun], None] = lambda run: None,
) -> list[Failure]:
    """Train what is not finished, in the given order; a run that was interrupted goes on from its last epoch.

    Args:
        runs: All runs.
        jobs: How many at a time.
        prefix: Words before each training command, such as ``nice -n 19``.
        finished: Called with every run once it is done, from the thread that waited for it.

    Returns:
        Those that failed; the others were carried out all the same.
    """

    def one(run: TrainingRun) -> Failure | None:
        if run.is_finished:
            return None
        failure = _train(run, prefix)
        print(failure or f"{run.name}: done", file=sys.stderr if failure else sys.stdout, flush=True)
        if failure is None:
            finished(run)
        return failure

    with ThreadPoolExecutor(jobs) as pool:
        return [failure for failure in pool.map(one, runs) if failure is not None]


def _train(run: TrainingRun, prefix: Sequence[str]) -> Failure | None:
    run.folder.path.mkdir(parents=True, exist_ok=True)
    command = [*prefix, *TRAIN, *run.words, "--output", str(run.folder.path)]
    if run.folder.holds_a_run:
        # A run that ended before its first checkpoint begins anew by the same word.
        command.append("--resume")
    log = run.folder.path / LOG
    with log.open("w", encoding="utf-8") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if status == 0 and run.is_finished:
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.rpartition("\r")[2].strip() for line in lines]
    return Failure(run, status, next((line for line in reversed(said) if line), ""))
