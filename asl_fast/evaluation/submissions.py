# SPDX-License-Identifier: Apache-2.0
"""Challenge submissions: ActivityNet detection, EPIC-Kitchens-100 C2 (action detection), Ego4D Moment Queries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.evaluation.columns import Columns, Table, read_columns
from asl_fast.evaluation.conventions import DEFAULT
from asl_fast.evaluation.epic import NUM_NOUNS, NUM_VERBS
from asl_fast.files import write_json

Json = dict[str, Any]


class SubmissionError(ValueError):
    """A submission that its evaluation server would refuse; the message names video, entry, key and value."""


def activitynet_submission(
    predictions: Table, *, external_data_used: bool, details: str = "", class_names: Iterable[str] | None = None
) -> Json:
    """``{"version": "VERSION 1.3", "results": {video: [{label, score, segment}]}, "external_data": {used, details}}``.

    Args:
        predictions: Columns as :func:`mean_average_precision` takes them; labels are class names. Videos lose the
            ``v_`` that some feature sets put before the id.
        external_data_used: Whether the challenge has to be told of external data.
        details: Which data that is.
        class_names: The 200 names; when given, any other label is an error.

    Raises:
        SubmissionError: As :func:`check_activitynet`.
    """
    columns = read_columns(predictions, "predictions", DEFAULT)
    results = {_youtube_id(video): entries for video, entries in _by_video(columns).items()}
    data = {
        "version": "VERSION 1.3",
        "results": results,
        "external_data": {"used": external_data_used, "details": details},
    }
    check_activitynet(data, class_names)
    return data


def ego4d_submission(
    detections: Table, retrieval: Table | None = None, *, clips: Iterable[str] = (), class_names: Iterable[str] = ()
) -> Json:
    """``{"version": "1.0", "challenge": "ego4d_moment_queries", "detect_results": ..., "retrieve_results": ...}``.

    Both results map clip ids to ``[{label, score, segment}]`` by descending score, because the server's Recall@kx
    takes predictions in file order.

    Args:
        detections: Columns as :func:`mean_average_precision` takes them; labels are category names.
        retrieval: Detections for Recall@kx when they are other ones, for example without a score threshold.
        clips: All clips of the split: the server needs each of them to be present.
        class_names: The 110 categories; when given, any other label is an error.

    Raises:
        SubmissionError: As :func:`check_ego4d`.
    """
    found = read_columns(detections, "predictions", DEFAULT)
    listed = found if retrieval is None else read_columns(retrieval, "predictions", DEFAULT)
    clips = list(clips)
    data = {
        "version": "1.0",
        "challenge": "ego4d_moment_queries",
        "detect_results": _by_video(found, clips),
        "retrieve_results": _by_video(listed, clips),
    }
    check_ego4d(data, class_names)
    return data


def epic_submission(predictions: Mapping[str, Any], *, sls_pt: int, sls_tl: int, sls_td: int) -> Json:
    """``{"version": "0.2", "challenge": "action_detection", sls_*, "results": {video: [{verb, noun, action, ...}]}}``.

    Args:
        predictions: Columns ``video``, ``segments``, ``verb``, ``noun``, ``scores``, as
            :func:`combine_verbs_and_nouns` returns them.
        sls_pt: The challenge's supervision level of pretraining.
        sls_tl: That of the training labels.
        sls_td: That of the training data.

    Raises:
        SubmissionError: As :func:`check_epic`.
    """
    columns = read_columns(predictions, "predictions", DEFAULT, "verb")
    noun = read_columns(predictions, "predictions", DEFAULT, "noun").labels
    assert columns.scores is not None
    results: dict[str, list[Json]] = {}
    for row in np.argsort(-columns.scores, kind="stable").tolist():
        verb_id, noun_id = int(columns.labels[row]), int(noun[row])
        entry = {
            "verb": verb_id,
            "noun": noun_id,
            "action": f"{verb_id},{noun_id}",
            "score": float(columns.scores[row]),
            "segment": columns.segments_sec[row].tolist(),
        }
        results.setdefault(str(columns.video[row]), []).append(entry)
    levels = {"sls_pt": sls_pt, "sls_tl": sls_tl, "sls_td": sls_td}
    data = {"version": "0.2", "challenge": "action_detection", **levels, "results": results}
    check_epic(data)
    return data


def write_submission(path: str | Path, data: Json) -> None:
    """Write a submission atomically."""
    write_json(path, data)


def check_activitynet(data: Json, class_names: Iterable[str] | None = None) -> None:
    """Check what the ActivityNet server asks of a detection file.

    Raises:
        SubmissionError: Naming what is wrong.
    """
    _require(data, {"version": str, "results": dict, "external_data": dict})
    for video, entries in data["results"].items():
        if _youtube_id(video) != video:
            raise SubmissionError(f"video {video}: ids are the 11 characters after 'v_'")
        _check_entries("results", video, entries, set(class_names or ()))


def check_ego4d(data: Json, class_names: Iterable[str] = ()) -> None:
    """Check what the Ego4D Moment Queries server asks: both results over the same clips, by descending score.

    Raises:
        SubmissionError: Naming what is wrong.
    """
    _require(data, {"version": str, "challenge": str, "detect_results": dict, "retrieve_results": dict})
    if data["challenge"] != "ego4d_moment_queries" or data["version"] != "1.0":
        raise SubmissionError(f"challenge {data['challenge']!r} version {data['version']!r} is not the one of 1.0")
    if set(data["detect_results"]) != set(data["retrieve_results"]):
        clip = min(set(data["detect_results"]) ^ set(data["retrieve_results"]))
        raise SubmissionError(f"clip {clip} is only in one of detect_results and retrieve_results")
    known = set(class_names)
    for part in ("detect_results", "retrieve_results"):
        for clip, entries in data[part].items():
            _check_entries(part, clip, entries, known)
            scores = [entry["score"] for entry in entries]
            if any(a < b for a, b in pairwise(scores)):
                raise SubmissionError(f"{part}: clip {clip}: entries must be sorted by descending score")


def check_epic(data: Json) -> None:
    """Check what the EPIC-Kitchens C2 evaluation code asks of a submission.

    Raises:
        SubmissionError: Naming what is wrong.
    """
    levels = ("sls_pt", "sls_tl", "sls_td")
    _require(data, {"version": str, "challenge": str, "results": dict} | dict.fromkeys(levels, int))
    if data["version"] != "0.2" or data["challenge"] != "action_detection":
        raise SubmissionError(f"challenge {data['challenge']!r} version {data['version']!r}; must be 0.2")
    for level in levels:
        if not 0 <= data[level] <= 5:
            raise SubmissionError(f"{level} must be between 0 and 5; found {data[level]}")
    for video, entries in data["results"].items():
        for index, entry in enumerate(entries):
            where = f"results: video {video}: [{index}]"
            for task, limit in (("verb", NUM_VERBS), ("noun", NUM_NOUNS)):
                value = entry.get(task)
                if not isinstance(value, int) or not 0 <= value < limit:
                    raise SubmissionError(f"{where}.{task} must be an integer below {limit}; found {value!r}")
            if entry.get("action") != f"{entry['verb']},{entry['noun']}":
                raise SubmissionError(f"{where}.action must be 'verb,noun'; found {entry.get('action')!r}")
            _check_numbers(where, entry)


def _youtube_id(video: str) -> str:
    """Take off the prefix v_, which an id may itself begin with: only its length tells."""
    return video[2:] if video.startswith("v_") and len(video) == 13 else video


def _by_video(columns: Columns, videos: Iterable[str] = ()) -> dict[str, list[Json]]:
    assert columns.scores is not None
    results: dict[str, list[Json]] = {str(video): [] for video in videos}
    for row in np.argsort(-columns.scores, kind="stable").tolist():
        entry = {
            "label": columns.labels[row : row + 1].tolist()[0],
            "score": float(columns.scores[row]),
            "segment": columns.segments_sec[row].tolist(),
        }
        results.setdefault(str(columns.video[row]), []).append(entry)
    return results


def _require(data: Json, keys: dict[str, type]) -> None:
    for key, kind in keys.items():
        if not isinstance(data.get(key), kind):
            found = repr(data.get(key)) if key in data else "nothing"
            raise SubmissionError(f"key {key!r} must be a {kind.__name__}; found {found[:60]}")


def _check_entries(part: str, video: str, entries: Any, known: set[str]) -> None:
    if not isinstance(entries, list):
        raise SubmissionError(f"{part}: video {video}: must be a list; found {entries!r:.60}")
    for index, entry in enumerate(entries):
        where = f"{part}: video {video}: [{index}]"
        label = entry.get("label")
        if not isinstance(label, str) or (known and label not in known):
            raise SubmissionError(f"{where}.label must be a class name of the benchmark; found {label!r}")
        _check_numbers(where, entry)


def _check_numbers(where: str, entry: Json) -> None:
    score, segment = entry.get("score"), entry.get("segment")
    if not isinstance(score, (int, float)) or not math.isfinite(score):
        raise SubmissionError(f"{where}.score must be a finite number; found {score!r}")
    if not isinstance(segment, list) or len(segment) != 2 or not all(math.isfinite(value) for value in segment):
        raise SubmissionError(f"{where}.segment must be two finite numbers; found {segment!r}")
    if segment[1] < segment[0]:
        raise SubmissionError(f"{where}.segment must not end before it starts; found {segment}")
