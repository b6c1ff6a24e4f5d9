# SPDX-License-Identifier: Apache-2.0
"""Do predictions and ground truth speak of the same videos and classes? Nothing in common is an error, less is a line.

A score of 0 because two files name one thing differently looks like the score of a bad detector, so it is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.data.annotations.entries import REVERSED
from asl_fast.evaluation.columns import Array
from asl_fast.evaluation.protocols import Protocol
from asl_fast.wording import count, plain, shown_apart

Columns = Mapping[str, Any]
# What rounding, and detectors that run over the end a little, explain.
_LATE, _LATE_SEC = 1.1, 1.0


def check_usable(columns: Columns, path: Path, reasons: Sequence[str], what: str, listed: int) -> None:
    """Refuse a file of which nothing is left to score.

    Args:
        columns: What was read from it.
        path: The file.
        reasons: What is wrong with each video or entry that is not used.
        what: "detection" or "annotation".
        listed: Videos that were read, with or without entries.

    Raises:
        ValueError: Naming the first thing that cannot be used.
    """
    if len(columns["video"]):
        return
    if reasons:
        turned = "; are the segments [start, length]?" if all(REVERSED in each for each in reasons) else ""
        raise ValueError(f"{path}: no {what} can be used; {len(reasons)} left out, the first: {reasons[0]}{turned}")
    raise ValueError(f"{path}: holds no {what} ({count(listed, 'video')} listed), so there is nothing to score")


def common_labels(
    annotations: Columns, detections: Columns, ground_truth: Path, predictions: Path
) -> tuple[Array, Array]:
    """Labels of both sides in one form, names or integer ids.

    Ids may be written as text, and stand for the names of a ground truth that has a ``label_id`` beside each label.

    Raises:
        ValueError: No label of one side occurs on the other; names one of each.
    """
    ours, theirs = annotations["labels"], detections["labels"]
    ids = annotations.get("label_ids")
    for here, there in ((ours, theirs), (_whole(ours), _whole(theirs)), (ids, _whole(theirs))):
        if (
            here is not None
            and there is not None
            and here.dtype.kind == there.dtype.kind
            and np.isin(there, here).any()
        ):
            return here, there
    if theirs.dtype.kind in "iu" and ours.dtype.kind == "U" and ids is None:
        raise ValueError(f"{predictions}: labels are integer ids, but {ground_truth} has only names, no label_id")
    there, here = shown_apart(_first(theirs), _first(ours))
    raise ValueError(
        f"{predictions}: none of its labels is a class of {ground_truth}; for example {there} there and {here} here"
    )


def check_videos(predicted: Array, predictions: Path, videos: Sequence[str], ground_truth: Path) -> None:
    """Refuse predictions of other videos than the ground truth has.

    Raises:
        ValueError: Naming one video of each side.
    """
    found = set(predicted.tolist())
    if found and not found & set(videos):
        raise ValueError(
            f"{predictions}: none of its videos ({len(found)}) is in {ground_truth}; for example "
            f"{min(found)!r} there and {min(videos, default='nothing')!r} here"
        )


def differences(
    protocol: Protocol, annotations: Columns, detections: Columns, videos: Collection[str], left_out: Collection[str]
) -> list[str]:
    """Say what only one side has and how it is scored, one line for each kind.

    Args:
        protocol: The rules.
        annotations: Table with labels in one form.
        detections: Likewise.
        videos: The videos that are scored.
        left_out: Videos that are left out on both sides, which has been said.
    """
    lines = []
    predicted, annotated = (list(dict.fromkeys(side["video"].tolist())) for side in (detections, annotations))
    out = {*left_out, *protocol.excluded_videos}
    known = {*videos, *out}
    if foreign := [video for video in predicted if video not in known]:
        rows = int(np.isin(detections["video"], foreign).sum())
        fate = "left out" if protocol.listed_videos_only else "false positives"
        lines.append(
            f"{count(rows, 'prediction')} of {count(len(foreign), 'video')} that the ground truth does not have, for "
            f"example {foreign[0]!r}: {fate}"
        )
    with_predictions = set(predicted)
    if missed := [video for video in annotated if video not in with_predictions and video not in out]:
        lines.append(
            f"{len(missed)} of {count(len(annotated), 'annotated video')} without any prediction, for example "
            f"{missed[0]!r}: their annotations count as missed"
        )
    ours, theirs = annotations["labels"], detections["labels"]
    unknown = ~np.isin(theirs, ours)
    if unknown.any():
        fate = {
            "ignore": "ignored",
            "error": "refused",
            "merge_by_position": "taken for positions in the sorted list of classes where they are integers",
        }[protocol.convention.unknown_class]
        number = len(np.unique(theirs[unknown]))
        lines.append(
            f"{count(int(unknown.sum()), 'prediction')} of {count(number, 'class', 'classes')} without annotation, "
            f"for example {_first(theirs[unknown])!r}{_twin(theirs[unknown], ours)}: {fate}"
        )
    never = np.setdiff1d(ours, theirs)
    if len(never):
        number = len(np.unique(ours))
        lines.append(
            f"{len(never)} of {count(number, 'annotated class', 'annotated classes')} never predicted, for example "
            f"{_first(never)!r}: their AP is 0"
        )
    lines += _empty(protocol, annotations["segments"], detections["segments"][~unknown])
    return lines


def _empty(protocol: Protocol, annotated: Array, predicted: Array) -> list[str]:
    """Say what becomes of segments without length."""
    rules = protocol.convention
    annotations, predictions = (int((side[:, 1] == side[:, 0]).sum()) for side in (annotated, predicted))
    if rules.min_length_sec is not None and rules.min_length_sec > 0:
        annotations = 0  # removed ones are counted in the table
    lines = []
    if annotations:
        fate = "any prediction without length finds them" if rules.empty_union == "match" else "nothing can find them"
        lines.append(f"{count(annotations, 'annotation')} without length; by convention {rules.name!r} {fate}")
    if predictions and rules.empty_union != "match":
        lines.append(
            f"{count(predictions, 'prediction')} without length; by convention {rules.name!r} they find nothing, and "
            "count as false positives where their class is scored"
        )
    return lines


def _twin(unknown: Array, known: Array) -> str:
    """Say which annotated class the first of some unknown ones looks like, if it does."""
    if unknown.dtype.kind != "U" or known.dtype.kind != "U":
        return ""
    looks = {plain(each): each for each in np.unique(known).tolist()}
    found = looks.get(plain(_first(unknown)))
    return "" if found is None else f" (annotated is {found!a})"


def nothing_found(annotations: Columns, detections: Columns) -> str:
    """Say, of detections none of which finds an annotation, how long both last: a unit may differ between them."""
    spans = [np.asarray(side["segments"], np.float64).reshape(-1, 2) for side in (annotations, detections)]
    ours, theirs = (float(np.median(each[:, 1] - each[:, 0])) for each in spans)
    return (
        f"no detection finds an annotation at any threshold: annotations last {ours:.4g} and detections {theirs:.4g} "
        "in the median; are both in seconds?"
    )


def past_the_end(detections: Columns, durations_sec: Mapping[str, float]) -> list[str]:
    """Say how many detections end after their videos, which have a length in the ground truth."""
    video = np.asarray(detections["video"])
    ends = np.asarray(detections["segments"], np.float64).reshape(-1, 2)[:, 1]
    names, place = np.unique(video, return_inverse=True)
    lengths = np.array([durations_sec.get(name, np.inf) for name in names.tolist()])[place]
    late = ends > lengths * _LATE + _LATE_SEC
    if not late.any():
        return []
    first = int(np.argmax(late))
    return [
        f"{count(int(late.sum()), 'detection')} of {len(video)} after the end of the video, for example at "
        f"{ends[first]:.6g} of {lengths[first]:.6g} s in {str(video[first])!r}: are they in seconds?"
    ]


def _whole(labels: Array) -> Array | None:
    """Labels as integers where each is one, possibly written as text; else None."""
    if labels.dtype.kind in "iu":
        return labels
    texts = labels.tolist()
    if not all(isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19 for text in texts):
        return None
    return np.array([int(text) for text in texts], dtype=np.int64)


def _first(labels: Array) -> Any:
    return labels[:1].tolist()[0] if len(labels) else "nothing"
