# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.submit``: turn detection files into a challenge submission, checked before it is written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from asl_fast.evaluation.activitynet_json import read_detections
from asl_fast.evaluation.epic import class_ids
from asl_fast.evaluation.fusion import combine_verbs_and_nouns
from asl_fast.evaluation.submissions import (
    activitynet_submission,
    ego4d_submission,
    epic_submission,
    write_submission,
)


@dataclass(frozen=True)
class Arguments:
    """Write a challenge submission from detections in ActivityNet-style JSON."""

    challenge: Literal["activitynet13", "ego4d-mq", "epic100"]
    """Whose server it is for."""
    detections: Path
    """Detections; for epic100 those of verbs."""
    output: Path
    """The file to write."""
    retrieval: Path | None = None
    """ego4d-mq: other detections for Recall@kx, for example without a score threshold."""
    nouns: Path | None = None
    """epic100: detections of nouns."""
    classes: Path | None = None
    """epic100: the folder of EPIC_100_verb_classes.csv and EPIC_100_noun_classes.csv, when labels are names."""
    supervision: tuple[int, int, int] | None = None
    """epic100: levels of pretraining, training labels and training data, each 0 to 5."""
    external_data: str | None = None
    """activitynet13: what external data was used, in words; leave out if none."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, or 2 after one line that says what is wrong."""
    chosen = tyro.cli(Arguments, args=arguments, prog="python -m asl_fast.submit", description=Arguments.__doc__)
    try:
        data = submission(chosen)
        write_submission(chosen.output, data)
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"error: {message}", file=sys.stderr)
        return 2
    results = data.get("results", data.get("detect_results", {}))
    print(f"{chosen.output}: {sum(map(len, results.values()))} detections in {len(results)} videos")
    return 0


def submission(arguments: Arguments) -> dict[str, Any]:
    """The submission that the arguments ask for.

    Raises:
        OSError, ValueError: Naming the file, entry or argument that cannot be used.
    """
    found = read_detections(arguments.detections, strict=True)
    if arguments.challenge == "activitynet13":
        used = arguments.external_data is not None
        return activitynet_submission(found.columns, external_data_used=used, details=arguments.external_data or "")
    if arguments.challenge == "ego4d-mq":
        retrieval = read_detections(arguments.retrieval, strict=True) if arguments.retrieval else None
        clips = {*found.videos, *(retrieval.videos if retrieval else ())}
        return ego4d_submission(found.columns, retrieval.columns if retrieval else None, clips=sorted(clips))
    if arguments.nouns is None or arguments.supervision is None:
        raise ValueError(
            "epic100 needs --nouns FILE and --supervision PRETRAINING LABELS DATA, three levels from 0 to 5"
        )
    folder = arguments.classes or arguments.detections.parent
    tables = [
        {**columns, "labels": class_ids(columns["labels"], folder, task)}
        for task, columns in (
            ("verb", found.columns),
            ("noun", read_detections(arguments.nouns, strict=True).columns),
        )
    ]
    pretraining, labels, data = arguments.supervision
    return epic_submission(combine_verbs_and_nouns(*tables), sls_pt=pretraining, sls_tl=labels, sls_td=data)


if __name__ == "__main__":
    sys.exit(main())
