# SPDX-License-Identifier: Apache-2.0
"""Score a run, or any detection file against any ground-truth file.

That is mean average precision, and what the benchmark reports beside it.

Examples:
    python -m asl_fast.evaluate --run runs/thumos14-001
    python -m asl_fast.evaluate --ground-truth annotations.json --predictions detections.json --tiou 0.3:0.7:0.1
    python -m asl_fast.evaluate --ground-truth annotations.json --predictions detections.json --protocol activitynet13
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.command_line.errors import CommandError, run_command
from asl_fast.command_line.options import read_options
from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth
from asl_fast.evaluation.analysis import analyse
from asl_fast.evaluation.conventions import get_convention
from asl_fast.evaluation.epic import class_ids, evaluate_verbs_and_nouns, read_epic_csv, read_epic_detections
from asl_fast.evaluation.mean_ap import MeanAveragePrecision
from asl_fast.evaluation.protocols import (
    Measure,
    Protocol,
    evaluate_protocol,
    get_protocol,
    run_protocol,
    select_videos,
    thresholds,
)
from asl_fast.evaluation.table import analysis_table, class_csv, result_table
from asl_fast.files import read_json, write_json, write_text


@dataclass(frozen=True)
class Arguments:
    """What is scored, and by which rules.

    Attributes:
        run: A run folder of train; its evaluation.json is written anew.
        ground_truth: Ground truth as ActivityNet-style JSON, or the CSV of EPIC-KITCHENS-100.
        predictions: Detections as ActivityNet-style JSON.
        tiou: Thresholds: first:last:step as 0.3:0.7:0.1, or a list as 0.3,0.5,0.7.
        subset: The subset of the ground truth to score; the protocol's, or the only one that has annotations, unless
            given.
        protocol: A benchmark's rules: thumos14, multithumos, charades, ego4d-mq, epic100-verb, activitynet13, ...
        convention: Where evaluators differ: default, published, activitynet, epic, ego4d, actionformer, opentad,
            opentad-epic.
        per_class: Also print every class.
        strict: Stop at the first unusable entry of a file instead of skipping its video with a warning.
        analyse: Also say what kinds of mistakes cost how much, and which annotations are found (tIoU 0.5).
        nouns: With --protocol epic100: noun detections; --predictions then holds verbs, and actions are made of both.
        json: Also write the result here.
        csv: Also write the per-class table of the main measure here.
    """

    run: Path | None = None
    ground_truth: Path | None = None
    predictions: Path | None = None
    tiou: str | None = None
    subset: str | None = None
    protocol: str | None = None
    convention: str | None = None
    per_class: bool = False
    strict: bool = False
    analyse: bool = False
    nouns: Path | None = None
    json: Path | None = None
    csv: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(lambda: _evaluate_and_print(read_options(Arguments, "evaluate", __doc__, arguments)))


def _evaluate_and_print(chosen: Arguments) -> int:
    try:
        print(evaluate(chosen))
    except TypeError as error:
        # Columns of the wrong type come from the user's files.
        raise CommandError(error) from error
    return 0


def evaluate(arguments: Arguments) -> str:
    """Score what the arguments name, write the files they ask for and return the table.

    Raises:
        OSError, KeyError, TypeError, ValueError: Naming the file, video, key or argument that cannot be used.
    """
    protocol, ground_truth_path, predictions_path = _inputs(arguments)
    if arguments.tiou is not None:
        protocol = replace(protocol, measures=(Measure("mAP", parse_thresholds(arguments.tiou)),))
    if arguments.convention is not None:
        protocol = replace(protocol, convention=get_convention(arguments.convention))
    read = _read_epic if ground_truth_path.suffix == ".csv" else _read_json
    inputs = read(arguments, protocol, ground_truth_path, predictions_path)
    protocol = replace(protocol, excluded_videos=(*protocol.excluded_videos, *inputs.excluded))
    if inputs.nouns is None:
        result = evaluate_protocol(protocol, inputs.annotations, inputs.detections, videos=inputs.videos)
    else:
        result = evaluate_verbs_and_nouns(
            inputs.annotations, inputs.detections, inputs.nouns, convention=protocol.convention
        )
    record = result.as_dict() | {
        "ground_truth": str(ground_truth_path),
        "predictions": str(predictions_path),
        "skipped": inputs.skipped,
    }
    text = result_table(result, per_class=arguments.per_class)
    if arguments.analyse:
        annotations, detections, *_ = select_videos(protocol, inputs.annotations, inputs.detections, inputs.videos)
        found = analyse(annotations, detections, durations_sec=inputs.durations_sec, convention=protocol.convention)
        text += f"\n\n{analysis_table(found)}"
        record["analysis"] = found.as_dict()
    for path in (arguments.json, arguments.run / "evaluation.json" if arguments.run else None):
        if path is not None:
            write_json(path, record, indent=2)
    if arguments.csv is not None:
        main_measure = result.measures[protocol.measures[0].name]
        assert isinstance(main_measure, MeanAveragePrecision)
        write_text(arguments.csv, class_csv(main_measure))
    return text


def parse_thresholds(text: str) -> tuple[float, ...]:
    """Return the thresholds of ``first:last:step``, of a comma-separated list or of one number.

    Raises:
        ValueError: The text is neither, or asks for no threshold.
    """
    try:
        if ":" in text:
            first, last, step = map(float, text.split(":"))
            if not (0 < first <= last <= 1 and step > 0):
                raise ValueError
            return thresholds(first, last, step)
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--tiou {text}: give first:last:step, such as 0.3:0.7:0.1, or a list 0.3,0.5,0.7") from None


def _inputs(arguments: Arguments) -> tuple[Protocol, Path, Path]:
    named = get_protocol(arguments.protocol) if arguments.protocol is not None else None
    if arguments.run is not None:
        if arguments.ground_truth or arguments.predictions:
            raise ValueError("give either --run or --ground-truth and --predictions, not both")
        protocol = named or _run_protocol(arguments.run / "config.json")
        return protocol, arguments.run / "ground_truth.json", arguments.run / "detections.json"
    if arguments.ground_truth is None or arguments.predictions is None:
        raise ValueError("give --run DIR, or both --ground-truth FILE and --predictions FILE")
    if named is None and arguments.tiou is None:
        raise ValueError("give the thresholds with --tiou, such as 0.3:0.7:0.1, or a benchmark with --protocol")
    return named or Protocol("detections", "", ()), arguments.ground_truth, arguments.predictions


def _run_protocol(path: Path) -> Protocol:
    """Return the rules that a run was configured with, and what its benchmark reports beside mAP."""
    try:
        config = read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; is {path.parent} the folder of a run?") from None
    try:
        settings = config["evaluation"]
        return run_protocol(
            str(config["dataset"]),
            settings["tiou_thresholds"],
            settings.get("strict_thresholds") or (),
            settings.get("convention", "default"),
            f"run {path.parent}",
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: has no usable 'dataset' and 'evaluation.tiou_thresholds' ({error!r})") from error


@dataclass(frozen=True)
class _Inputs:
    """Tables to score.

    Attributes:
        annotations: Columns of the ground truth.
        detections: Columns of the detections; of verbs where ``nouns`` are given.
        videos: The videos that are scored, with or without annotations.
        durations_sec: Video -> length, where the ground truth says so.
        nouns: Columns of the detections of nouns.
        excluded: Videos whose ground truth cannot be used.
        skipped: "ground_truth" or "predictions" -> video -> why it is not used.
    """

    annotations: dict[str, Any]
    detections: dict[str, Any]
    videos: Sequence[str]
    durations_sec: dict[str, float] = field(default_factory=dict)
    nouns: dict[str, Any] | None = None
    excluded: tuple[str, ...] = ()
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)


def _read_json(arguments: Arguments, protocol: Protocol, ground_truth: Path, predictions: Path) -> _Inputs:
    keep = protocol.convention.reversed_segments == "keep"
    subset = arguments.subset or (protocol.subset if arguments.run is None else None)
    truth = read_ground_truth(ground_truth, subset=subset, strict=arguments.strict, keep_reversed=keep)
    found = read_detections(predictions, strict=arguments.strict, keep_reversed=keep)
    _warn(truth.skipped, "left out on both sides")
    _warn(found.skipped, "counted as without detections")
    annotations, detections = dict(truth.columns), dict(found.columns)
    integer_ids = detections["labels"].dtype.kind in "iu"
    if len(detections["labels"]) and integer_ids and annotations["labels"].dtype.kind == "U":
        if "label_ids" not in annotations:
            raise ValueError(f"{predictions}: labels are integer ids, but {ground_truth} has only names, no label_id")
        annotations["labels"] = annotations["label_ids"]
    _check_videos(detections["video"].tolist(), predictions, truth.videos, ground_truth)
    skipped = {"ground_truth": truth.skipped, "predictions": found.skipped}
    return _Inputs(
        annotations, detections, truth.videos, truth.durations_sec, excluded=tuple(truth.skipped), skipped=skipped
    )


def _read_epic(arguments: Arguments, protocol: Protocol, ground_truth: Path, predictions: Path) -> _Inputs:
    skipped: dict[str, dict[str, str]] = {"ground_truth": {}, "predictions": {}}
    truth = read_epic_csv(ground_truth, skipped=None if arguments.strict else skipped["ground_truth"])
    _warn(skipped["ground_truth"], "left out on both sides")
    videos = sorted(set(truth["video"].tolist()))
    left_out: dict[str, Any] = {"excluded": tuple(skipped["ground_truth"]), "skipped": skipped}

    def labelled(path: Path, task: str) -> dict[str, Any]:
        found = read_detections(path, strict=arguments.strict)
        _warn(found.skipped, "counted as without detections")
        skipped["predictions"] |= found.skipped
        columns = _without(found.columns, skipped["ground_truth"])
        return {**columns, "labels": class_ids(columns["labels"], ground_truth.parent, task)}

    task = protocol.name.removeprefix("epic100-")
    if task in ("verb", "noun"):
        inputs = _Inputs({**truth, "labels": truth[task]}, labelled(predictions, task), videos, **left_out)
    elif protocol.name != "epic100":
        raise ValueError(f"{ground_truth} is scored with --protocol epic100, epic100-verb or epic100-noun")
    elif arguments.nouns is not None:
        nouns = labelled(arguments.nouns, "noun")
        inputs = _Inputs(
            {**truth, "labels": truth["verb"]}, labelled(predictions, "verb"), videos, nouns=nouns, **left_out
        )
    else:
        found = read_epic_detections(predictions, skipped=None if arguments.strict else skipped["predictions"])
        _warn(skipped["predictions"], "counted as without detections")
        found = _without(found, skipped["ground_truth"])
        inputs = _Inputs({**truth, "labels": truth["verb"]}, {**found, "labels": found["verb"]}, videos, **left_out)
    _check_videos(inputs.detections["video"].tolist(), predictions, videos, ground_truth)
    return inputs


def _check_videos(predicted: Sequence[str], predictions: Path, videos: Sequence[str], ground_truth: Path) -> None:
    if predicted and not set(predicted) & set(videos):
        raise ValueError(
            f"{predictions}: none of its {len(set(predicted))} videos is in {ground_truth}; for example "
            f"{min(predicted)!r} there and {min(videos, default='nothing')!r} here"
        )


def _without(columns: dict[str, Any], videos: Iterable[str]) -> dict[str, Any]:
    kept = ~np.isin(columns["video"], list(videos))
    return {name: column[kept] for name, column in columns.items()}


def _warn(skipped: dict[str, str], consequence: str) -> None:
    if skipped:
        first = next(iter(skipped.values()))
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        print(
            f"warning: {len(skipped)} videos {consequence}: {first}{more}; --strict stops there",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
