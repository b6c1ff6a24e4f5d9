# SPDX-License-Identifier: Apache-2.0
r"""Turn detection files into a checked challenge submission.

Examples:
    python -m asl_fast.submit --challenge activitynet13 --detections detections.json --output submission.json
    python -m asl_fast.submit --challenge ego4d-mq --detections detections.json --output submission.json
    python -m asl_fast.submit --challenge epic100 --detections verbs.json --nouns nouns.json --supervision 2 4 3 \
        --output submission.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asl_fast.command_line.errors import CommandError, if_stopped, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.outputs import check_output
from asl_fast.wording import count

_OPTIONS = {
    "activitynet13": ("external_data",),
    "ego4d-mq": ("retrieval",),
    "epic100": ("nouns", "classes", "supervision"),
}


@dataclass(frozen=True)
class Arguments:
    """Which detections go to which challenge.

    Attributes:
        challenge: Whose server it is for.
        detections: Detections as ActivityNet-style JSON; for epic100 those of verbs.
        output: The file to write.
        retrieval: ego4d-mq: other detections for Recall@kx, for example without a score threshold.
        nouns: epic100: detections of nouns.
        classes: epic100: the folder of EPIC_100_verb_classes.csv and EPIC_100_noun_classes.csv, when labels are names;
            the folder of the detections unless given.
        supervision: epic100: levels of pretraining, training labels and training data, each 0 to 5.
        external_data: activitynet13: what external data was used, in words; leave out if none.
    """

    challenge: Literal["activitynet13", "ego4d-mq", "epic100"]
    detections: Path
    output: Path
    retrieval: Path | None = None
    nouns: Path | None = None
    classes: Path | None = None
    supervision: tuple[int, int, int] | None = None
    external_data: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(lambda: _submit(read_options(Arguments, "submit", __doc__, arguments)))


def _submit(chosen: Arguments) -> int:
    with if_stopped("nothing was written"):
        _check_options(chosen)
        check_output("--output", chosen.output, (chosen.detections, chosen.retrieval, chosen.nouns))
        from asl_fast.evaluation.submissions import write_submission

        try:
            data = submission(chosen)
        except TypeError as error:
            # Columns of the wrong type come from the user's files.
            raise CommandError(error) from error
    write_submission(chosen.output, data)
    results = data.get("results", data.get("detect_results", {}))
    number = count(sum(map(len, results.values())), "detection")
    print(f"{chosen.output}: {number} in {count(len(results), 'video')}")
    return 0


def _check_options(chosen: Arguments) -> None:
    """Refuse what belongs to another challenge."""
    for challenge, options in _OPTIONS.items():
        for option in options:
            if chosen.challenge != challenge and getattr(chosen, option) is not None:
                raise ValueError(f"--{option.replace('_', '-')} belongs to --challenge {challenge}")


def submission(arguments: Arguments) -> dict[str, Any]:
    """Return the submission that the arguments ask for.

    Raises:
        OSError, KeyError, TypeError, ValueError: Naming the file, entry or argument that cannot be used.
    """
    from asl_fast.evaluation.activitynet_json import SegmentFile, read_detections
    from asl_fast.evaluation.agreement import check_usable
    from asl_fast.evaluation.epic import class_ids
    from asl_fast.evaluation.fusion import combine_verbs_and_nouns
    from asl_fast.evaluation.submissions import activitynet_submission, ego4d_submission, epic_submission

    def read(path: Path) -> SegmentFile:
        found = read_detections(path, strict=True)
        check_usable(found.columns, path, (), "detection", len(found.videos))
        return found

    found = read(arguments.detections)
    if arguments.challenge == "activitynet13":
        used = arguments.external_data is not None
        return activitynet_submission(found.columns, external_data_used=used, details=arguments.external_data or "")
    if arguments.challenge == "ego4d-mq":
        retrieval = read(arguments.retrieval) if arguments.retrieval else None
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
            ("noun", read(arguments.nouns).columns),
        )
    ]
    pretraining, labels, data = arguments.supervision
    return epic_submission(combine_verbs_and_nouns(*tables), sls_pt=pretraining, sls_tl=labels, sls_td=data)


if __name__ == "__main__":
    sys.exit(main())
