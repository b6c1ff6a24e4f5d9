# SPDX-License-Identifier: Apache-2.0
"""Score a run, or any detection file against any ground-truth file.

That is mean average precision, and what the benchmark reports beside it.

Examples:
    python -m asl_fast.evaluate --run runs/thumos14-001
    python -m asl_fast.evaluate --run runs/thumos14-001 --redetect --nms-sigma 0.7
    python -m asl_fast.evaluate --ground-truth annotations.json --predictions detections.json --tiou 0.3:0.7:0.1
    python -m asl_fast.evaluate --ground-truth annotations.json --predictions detections.json --protocol activitynet13
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from asl_fast.command_line.errors import CommandError, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.outputs import check_output
from asl_fast.command_line.post_processing import PostProcessing
from asl_fast.data.annotations.columns import parse_columns
from asl_fast.evaluation.agreement import nothing_found
from asl_fast.evaluation.analysis import analyse
from asl_fast.evaluation.conventions import get_convention
from asl_fast.evaluation.epic import evaluate_verbs_and_nouns
from asl_fast.evaluation.mean_ap import MeanAveragePrecision
from asl_fast.evaluation.protocols import (
    Measure,
    Protocol,
    ProtocolResult,
    evaluate_protocol,
    get_protocol,
    run_protocol,
    select_videos,
    thresholds,
)
from asl_fast.evaluation.scoring_inputs import read_inputs
from asl_fast.evaluation.table import analysis_table, class_csv, result_table
from asl_fast.files import read_json, write_json, write_text
from asl_fast.wording import count, printable

LEAST_STEP = 0.001


@dataclass(frozen=True)
class Arguments:
    """What is scored, and by which rules.

    Attributes:
        run: A run folder of train; its evaluation.json is written anew.
        redetect: With --run: apply the post-processing below to what the network found, which is computed once and
            kept in the run folder; detections and scores go to its folder "redetected".
        ground_truth: Ground truth as ActivityNet-style JSON, as a .csv or .tsv table, or the CSV of EPIC-KITCHENS-100.
        predictions: Detections as ActivityNet-style JSON or as a table.
        columns: Columns of a table of ground truth, video=NAME,start=NAME,end=NAME,label=NAME; by their names unless
            given.
        prediction_columns: Likewise of a table of detections; also score=NAME.
        tiou: Thresholds: first:last:step as 0.3:0.7:0.1, or a list as 0.3,0.5,0.7; the decimal numbers, where public
            evaluators, and --protocol like them, have 0.30000000000000004 for the third of 0.1:0.5:0.1.
        subset: The subset of the ground truth to score; the protocol's, or the only one that has annotations, unless
            given.
        protocol: A benchmark's rules: thumos14, multithumos, charades, ego4d-mq, epic100-verb, activitynet13, ...
        convention: Where evaluators differ: default, published, activitynet, epic, ego4d, actionformer, opentad,
            opentad-epic. By the first two, equal scores rank by video name, then by earlier start, then by earlier end,
            so that the order of a file does not matter; by the others as the public evaluator's sort leaves them.
        per_class: Also print every class.
        strict: Stop at the first unusable entry of a file instead of leaving it out with a warning.
        analyse: Also say what kinds of mistakes cost how much, and which annotations are found (tIoU 0.5).
        nouns: With --protocol epic100: noun detections; --predictions then holds verbs, and actions are made of both.
        json: Also write the result here.
        csv: Also write the per-class table of the main measure here.
        post_processing: With --redetect: what is done otherwise than in training.
    """

    run: Path | None = None
    redetect: bool = False
    ground_truth: Path | None = None
    predictions: Path | None = None
    columns: str | None = None
    prediction_columns: str | None = None
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
    post_processing: Annotated[PostProcessing, tyro.conf.arg(name="")] = field(default_factory=PostProcessing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(lambda: _evaluate_and_print(read_options(Arguments, "evaluate", __doc__, arguments)))


def _evaluate_and_print(chosen: Arguments) -> int:
    try:
        print(printable(evaluate(chosen), keep="\n"))
    except TypeError as error:
        # Columns of the wrong type come from the user's files.
        raise CommandError(error) from error
    return 0


def evaluate(arguments: Arguments) -> str:
    """Score what the arguments name, write the files they ask for and return the table.

    Raises:
        OSError, KeyError, TypeError, ValueError: Naming the file, video, key or argument that cannot be used.
    """
    for option, path in (("--json", arguments.json), ("--csv", arguments.csv)):
        if path is not None:
            check_output(option, path, (arguments.ground_truth, arguments.predictions, arguments.nouns))
    if arguments.json is not None and arguments.csv is not None and arguments.json.resolve() == arguments.csv.resolve():
        raise ValueError(f"--json and --csv name one file, {arguments.csv}; give each its own")
    protocol, ground_truth_path, predictions_path = _request(arguments)
    if arguments.tiou is not None:
        protocol = replace(protocol, measures=(Measure("mAP", parse_thresholds(arguments.tiou)),))
    if arguments.convention is not None:
        protocol = replace(protocol, convention=get_convention(arguments.convention))
    inputs = read_inputs(
        protocol,
        ground_truth_path,
        predictions_path,
        nouns=arguments.nouns,
        subset=arguments.subset or (protocol.subset if arguments.run is None else None),
        columns=None if arguments.columns is None else parse_columns(arguments.columns),
        prediction_columns=None
        if arguments.prediction_columns is None
        else parse_columns(arguments.prediction_columns),
        strict=arguments.strict,
        warn=_warn,
    )
    for line in inputs.differences:
        print(f"warning: {printable(line)}", file=sys.stderr)
    protocol = replace(protocol, excluded_videos=(*protocol.excluded_videos, *inputs.excluded))
    if inputs.nouns is None:
        result = evaluate_protocol(
            protocol, inputs.annotations, inputs.detections, videos=inputs.videos, borders_sec=inputs.borders_sec
        )
    else:
        result = evaluate_verbs_and_nouns(
            inputs.annotations, inputs.detections, inputs.nouns, convention=protocol.convention
        )
    _check_something_scored(result, predictions_path)
    if result.average_map == 0:
        print(f"warning: {nothing_found(inputs.annotations, inputs.detections)}", file=sys.stderr)
    record = result.as_dict() | {
        "ground_truth": str(ground_truth_path),
        "predictions": str(predictions_path),
        "skipped": inputs.skipped,
        "left_out": inputs.left_out,
        "differences": list(inputs.differences),
    }
    text = result_table(result, per_class=arguments.per_class)
    if arguments.analyse:
        annotations, detections, *_ = select_videos(protocol, inputs.annotations, inputs.detections, inputs.videos)
        found = analyse(annotations, detections, durations_sec=inputs.durations_sec, convention=protocol.convention)
        text += f"\n\n{analysis_table(found)}"
        record["analysis"] = found.as_dict()
    for path in (arguments.json, predictions_path.with_name("evaluation.json") if arguments.run else None):
        if path is not None:
            write_json(path, record, indent=2)
    if arguments.csv is not None:
        main_measure = result.measures[protocol.measures[0].name]
        assert isinstance(main_measure, MeanAveragePrecision)
        write_text(arguments.csv, class_csv(main_measure))
    return text


def _check_something_scored(result: ProtocolResult, predictions: Path) -> None:
    counts = [each for each in result.measures.values() if isinstance(each, MeanAveragePrecision)]
    if not any(each.num_predictions for each in counts):
        raise ValueError(
            f"{predictions}: none of its detections is scored; {result.num_excluded_predictions} lie in videos that "
            f"protocol {result.protocol.name!r} leaves out, {counts[0].num_ignored_predictions} are of classes without "
            "annotation"
        )


def parse_thresholds(text: str) -> tuple[float, ...]:
    """Return the thresholds of ``first:last:step``, of a comma-separated list or of one number.

    Raises:
        ValueError: The text is neither, or asks for no threshold.
    """
    try:
        if ":" in text:
            first, last, step = map(float, text.split(":"))
            if not (0 < first <= last <= 1 and step >= LEAST_STEP):
                raise ValueError
            found = thresholds(first, last, step)
        else:
            found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--tiou {text}: give first:last:step, such as 0.3:0.7:0.1, or a list 0.3,0.5,0.7; steps of {LEAST_STEP} "
            "or more"
        ) from None
    if not all(0 < each <= 1 for each in found):
        raise ValueError(f"--tiou {text}: thresholds must lie in (0, 1]; found {list(found)}")
    if len(set(found)) < len(found):
        # It would count twice in the average.
        raise ValueError(f"--tiou {text}: give each threshold once; found {list(found)}")
    return found


def _request(arguments: Arguments) -> tuple[Protocol, Path, Path]:
    """Return the rules, the file of ground truth and the file of detections."""
    named = get_protocol(arguments.protocol) if arguments.protocol is not None else None
    if arguments.run is None and arguments.redetect:
        raise ValueError("--redetect needs --run: it applies other post-processing to what a run's network found")
    if not arguments.redetect and (changes := arguments.post_processing.changes()):
        option = f"--{next(iter(changes))}".replace("_", "-")
        raise ValueError(f"{option} changes detections, not their scoring: give --run DIR --redetect with it")
    if arguments.run is not None:
        if arguments.ground_truth or arguments.predictions:
            raise ValueError("give either --run or --ground-truth and --predictions, not both")
        protocol = named or _run_protocol(arguments.run / "config.json")
        return protocol, arguments.run / "ground_truth.json", _run_detections(arguments, arguments.run)
    if arguments.ground_truth is None or arguments.predictions is None:
        raise ValueError("give --run DIR, or both --ground-truth FILE and --predictions FILE")
    if named is None and arguments.tiou is None:
        raise ValueError("give the thresholds with --tiou, such as 0.3:0.7:0.1, or a benchmark with --protocol")
    return named or Protocol("detections", "", ()), arguments.ground_truth, arguments.predictions


def _run_detections(arguments: Arguments, run: Path) -> Path:
    """Return the file of a run's detections, which is written first where they shall be made anew."""
    if not arguments.redetect:
        return run / "detections.json"
    # Imported here: all else that is scored needs no network.
    from asl_fast.detection.redetect import redetect

    return redetect(run, arguments.post_processing.changes())


def _run_protocol(path: Path) -> Protocol:
    """Return the rules that a run was configured with, and what its benchmark reports beside mAP."""
    try:
        config = read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; is {path.parent} the folder of a run?") from None
    try:
        return run_protocol(str(config["dataset"]), config["evaluation"], f"run {path.parent}")
    except (KeyError, TypeError):
        raise ValueError(f"{path}: has no usable 'dataset' and 'evaluation.tiou_thresholds'; is it a run's?") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _warn(reasons: Collection[str], noun: str, consequence: str) -> None:
    if reasons:
        first = printable(next(iter(reasons)))
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        said = f"{count(len(reasons), noun)} {consequence}: {first}{more}; --strict stops there"
        print(f"warning: {said}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
