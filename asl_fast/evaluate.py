# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.evaluate``: score a run, or any detection file against any ground-truth file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from asl_fast.evaluation.activitynet_json import SegmentFile, read_detections, read_ground_truth
from asl_fast.evaluation.conventions import get_convention
from asl_fast.evaluation.files import write_json
from asl_fast.evaluation.protocols import PROTOCOLS, Measure, Protocol, evaluate_protocol, get_protocol, thresholds
from asl_fast.evaluation.table import result_table


@dataclass(frozen=True)
class Arguments:
    """Score detections: mean average precision at temporal IoU thresholds, and what the benchmark reports beside it."""

    run: Path | None = None
    """A run folder of asl_fast.train; writes its evaluation.json."""
    ground_truth: Path | None = None
    """Ground truth, ActivityNet-style JSON."""
    predictions: Path | None = None
    """Detections, ActivityNet-style JSON."""
    tiou: str | None = None
    """Thresholds: first:last:step as 0.3:0.7:0.1, or a list as 0.3,0.5,0.7."""
    subset: str | None = None
    """The subset of the ground truth to score; default: the protocol's, or the only one that has annotations."""
    protocol: str | None = None
    """A benchmark's rules: thumos14, multithumos, charades, ego4d-mq, epic100-verb, activitynet13, ..."""
    convention: str | None = None
    """Where evaluators differ: default, published, activitynet, epic, ego4d, actionformer, opentad, opentad-epic."""
    per_class: bool = False
    """Also print every class."""
    strict: bool = False
    """Stop at the first unusable entry of a file instead of skipping its video with a warning."""
    json: Path | None = None
    """Also write the result here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, or 2 after one line that says what is wrong."""
    chosen = tyro.cli(Arguments, args=arguments, prog="python -m asl_fast.evaluate", description=Arguments.__doc__)
    try:
        print(evaluate(chosen))
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"error: {message}", file=sys.stderr)
        return 2
    return 0


def evaluate(arguments: Arguments) -> str:
    """Scores what the arguments name, writes the files they ask for and returns the table.

    Raises:
        OSError, KeyError, TypeError, ValueError: Naming the file, video, key or argument that cannot be used.
    """
    protocol, ground_truth_path, predictions_path = _inputs(arguments)
    if arguments.tiou is not None:
        protocol = replace(protocol, measures=(Measure("mAP", parse_thresholds(arguments.tiou)),))
    if arguments.convention is not None:
        protocol = replace(protocol, convention=get_convention(arguments.convention))
    keep_reversed = protocol.convention.reversed_segments == "keep"
    subset = arguments.subset or (protocol.subset if arguments.run is None else None)
    truth = read_ground_truth(ground_truth_path, subset=subset, strict=arguments.strict, keep_reversed=keep_reversed)
    found = read_detections(predictions_path, strict=arguments.strict, keep_reversed=keep_reversed)
    _warn(truth, "left out on both sides")
    _warn(found, "counted as without detections")
    annotations, detections = _comparable(truth, found)
    protocol = replace(protocol, excluded_videos=(*protocol.excluded_videos, *truth.skipped))
    result = evaluate_protocol(protocol, annotations, detections, videos=truth.videos)
    record = result.as_dict() | {
        "ground_truth": str(ground_truth_path),
        "predictions": str(predictions_path),
        "skipped": {"ground_truth": truth.skipped, "predictions": found.skipped},
    }
    for path in (arguments.json, arguments.run / "evaluation.json" if arguments.run else None):
        if path is not None:
            write_json(path, record, indent=2)
    return result_table(result, per_class=arguments.per_class)


def parse_thresholds(text: str) -> tuple[float, ...]:
    """``first:last:step``, a comma-separated list or one number -> thresholds.

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
    """The thresholds and convention that a run was configured with, and what its benchmark reports beside mAP."""
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; is {path.parent} the folder of a run?") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    try:
        settings = config["evaluation"]
        name = str(config["dataset"])
        measures = [Measure("mAP", tuple(settings["tiou_thresholds"]))]
        if settings.get("strict_thresholds"):
            measures.append(Measure("strict mAP", tuple(settings["strict_thresholds"])))
        convention = get_convention(settings.get("convention", "default"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: has no usable 'dataset' and 'evaluation.tiou_thresholds' ({error!r})") from error
    if name in PROTOCOLS:
        measures += [measure for measure in PROTOCOLS[name].measures if measure.ks]
    return Protocol(name, f"run {path.parent}", tuple(measures), convention=convention)


def _comparable(truth: SegmentFile, found: SegmentFile) -> tuple[dict[str, Any], dict[str, Any]]:
    annotations, detections = dict(truth.columns), dict(found.columns)
    integer_ids = detections["labels"].dtype.kind in "iu"
    if len(detections["labels"]) and integer_ids and annotations["labels"].dtype.kind == "U":
        if "label_ids" not in annotations:
            raise ValueError(f"{found.path}: labels are integer ids, but {truth.path} has only names and no label_id")
        annotations["labels"] = annotations["label_ids"]
    predicted = set(detections["video"].tolist())
    if predicted and not predicted & set(truth.videos):
        raise ValueError(
            f"{found.path}: none of its {len(predicted)} videos is in {truth.path}; for example {min(predicted)!r} "
            f"there and {min(truth.videos, default='nothing')!r} here"
        )
    return annotations, detections


def _warn(file: SegmentFile, consequence: str) -> None:
    if file.skipped:
        first = next(iter(file.skipped.values()))
        more = f" (and {len(file.skipped) - 1} more)" if len(file.skipped) > 1 else ""
        print(
            f"warning: {len(file.skipped)} videos {consequence}: {first}{more}; --strict stops there",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
