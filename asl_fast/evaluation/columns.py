# SPDX-License-Identifier: Apache-2.0
"""Reading annotations and detections given as columns, and saying exactly what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from asl_fast.evaluation.conventions import Convention

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


class Table(Protocol):
    """Anything that returns a column by name: a dict of arrays, lists or CPU tensors of any dtype, or a data frame."""

    def __getitem__(self, column: str, /) -> Any: ...


@dataclass(frozen=True)
class Columns:
    """Checked columns of N annotations or detections.

    Attributes:
        video: (N,) video ids, strings or integers.
        segments_sec: (N, 2) float64, start and end in seconds.
        labels: (N,) classes, strings or integers.
        scores: (N,) float64, or None for annotations.
    """

    video: Array
    segments_sec: FloatArray
    labels: Array
    scores: FloatArray | None

    def __len__(self) -> int:
        return len(self.segments_sec)


def read_columns(
    table: Table, name: Literal["ground_truth", "predictions"], convention: Convention, labels: str = "labels"
) -> Columns:
    """Check a table's columns ``video``, ``segments``, ``labels`` and, for predictions, ``scores``.

    Instead of ``segments`` (N, 2), which a data frame cannot hold in one plain column, the table may have the columns
    ``start`` and ``end``. ``labels`` names the column to use as class.

    Raises:
        KeyError: A column is missing.
        TypeError: A column holds something else than asked for.
        ValueError: Lengths differ, or a value is one that the convention does not accept.
    """
    segments = _segments(table, name)
    count = len(segments)
    video = _keys(table, name, "video", count)
    classes = _keys(table, name, labels, count)
    _check_segments(segments, f"{name}['segments']", video, convention)
    scores = _scores(table, name, count, video, convention) if name == "predictions" else None
    return Columns(video, segments, classes, scores)


def check_same_kind(ground_truth: Columns, predictions: Columns) -> None:
    """Refuses to compare string ids with integer ids, which can never be equal.

    Raises:
        TypeError: Videos or labels are strings on one side and integers on the other.
    """
    if not len(ground_truth) or not len(predictions):
        return
    for column in ("video", "labels"):
        ours, theirs = (_kind(getattr(side, column)) for side in (ground_truth, predictions))
        if ours != theirs:
            raise TypeError(f"ground_truth[{column!r}] holds {ours} and predictions[{column!r}] holds {theirs}")


def _column(table: Table, name: str, column: str) -> Any:
    try:
        return table[column]
    except (KeyError, IndexError) as error:
        keys = getattr(table, "keys", None)
        found = f"; found {sorted(str(key) for key in keys())}" if callable(keys) else ""
        raise KeyError(f"{name} has no column {column!r}{found}") from error


def _has(table: Table, column: str) -> bool:
    keys = getattr(table, "keys", None)
    names: Iterable[object] = keys() if callable(keys) else ()
    return column in names


def _segments(table: Table, name: str) -> FloatArray:
    if not _has(table, "segments") and _has(table, "start") and _has(table, "end"):
        start, end = (_numbers(_column(table, name, column), f"{name}[{column!r}]") for column in ("start", "end"))
        if start.shape != end.shape or start.ndim != 1:
            raise ValueError(
                f"{name}['start'] has shape {start.shape} and {name}['end'] {end.shape}; both must be (N,)"
            )
        return np.ascontiguousarray(np.stack([start, end], axis=1))
    where = f"{name}['segments']"
    values = _numbers(_column(table, name, "segments"), where)
    if values.size == 0:
        values = values.reshape(0, 2)
    if values.ndim != 2 or values.shape[1] != 2:
        raise ValueError(f"{where} must have shape (N, 2), start and end in seconds; found {values.shape}")
    return np.ascontiguousarray(values)


def as_array(values: Any) -> Array:
    """Return a column as numpy takes it, also tensors that numpy refuses: with a gradient, or in bfloat16."""
    if hasattr(values, "detach"):
        values = values.detach()
        return np.asarray(values.double() if values.is_floating_point() else values)
    if isinstance(values, (list, tuple)) and any(hasattr(each, "detach") for each in values):
        return np.asarray([as_array(each) for each in values])
    return np.asarray(values)


def _numbers(values: Any, where: str) -> FloatArray:
    array = as_array(values)
    try:
        if array.dtype == object and array.size:
            array = np.array([as_array(row).astype(np.float64) for row in array])
        if array.dtype.kind not in "iuf" and array.size:
            raise TypeError
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        first = array.ravel().tolist()[0]
        raise TypeError(f"{where} must hold numbers; found {array.dtype} with first value {first!r}") from error


def _keys(table: Table, name: str, column: str, count: int) -> Array:
    where = f"{name}[{column!r}]"
    array = as_array(_column(table, name, column))
    if array.size == 0:
        array = np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or len(array) != count:
        raise ValueError(f"{where} must have shape ({count},), one for each segment; found {array.shape}")
    if _kind(array) == "mixed":
        first = array.tolist()[0]
        raise TypeError(f"{where} must hold only strings or only integers; found {array.dtype}, first {first!r}")
    return array


def _kind(array: Array) -> str:
    if array.dtype.kind in "iu":
        return "integers"
    if array.dtype.kind == "U":
        return "strings"
    if array.dtype == object:
        types = set(map(type, array.tolist()))
        if all(issubclass(kind, str) for kind in types):
            return "strings"
        if all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in types):
            return "integers"
    return "mixed"


def _check_segments(segments: FloatArray, where: str, video: Array, convention: Convention) -> None:
    finite = np.isfinite(segments).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"{where}[{row}] of video {video[row]!s} is {segments[row].tolist()}; it must be finite")
    if convention.reversed_segments == "error":
        wrong = segments[:, 1] < segments[:, 0]
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{where}[{row}] of video {video[row]!s} ends before it starts: {segments[row].tolist()} "
                f"({int(wrong.sum())} such in all)"
            )


def _scores(table: Table, name: str, count: int, video: Array, convention: Convention) -> FloatArray:
    where = f"{name}['scores']"
    scores = _numbers(_column(table, name, "scores"), where)
    if scores.size == 0:
        scores = scores.reshape(0)
    if scores.shape != (count,):
        raise ValueError(f"{where} must have shape ({count},), one for each segment; found {scores.shape}")
    if convention.nan_scores == "error" and np.isnan(scores).any():
        row = int(np.argmax(np.isnan(scores)))
        raise ValueError(
            f"{where}[{row}] of video {video[row]!s} is NaN ({int(np.isnan(scores).sum())} such in all); "
            "remove these predictions or repair the model that made them"
        )
    return np.ascontiguousarray(scores)
