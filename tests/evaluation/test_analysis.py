# SPDX-License-Identifier: Apache-2.0
"""Kinds of false positives and buckets of annotations, on cases small enough to judge by eye."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.evaluate import main
from asl_fast.evaluation import analyse, mean_average_precision
from asl_fast.evaluation.activitynet_json import write_detections, write_ground_truth
from asl_fast.evaluation.analysis import KINDS, verdicts
from asl_fast.evaluation.table import analysis_table
from tests.evaluation import golden

TRUTH: dict[str, Any] = {
    "video": ["a", "a", "b"],
    "segments": [[0.0, 10.0], [20.0, 30.0], [0.0, 100.0]],
    "labels": ["run", "jump", "run"],
}
# One prediction of each kind, best score first.
FOUND: dict[str, Any] = {
    "video": ["a"] * 6,
    "segments": [[0, 10], [1, 10], [20, 29], [6, 20], [27, 40], [50, 60]],
    "labels": ["run", "run", "run", "run", "run", "jump"],
    "scores": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
}


def test_one_of_each_kind() -> None:
    result = analyse(TRUTH, FOUND, multiples=2)
    assert [kind.name for kind in result.kinds] == list(KINDS)
    # Of running, annotated twice, the best two, then the next two; of jumping, annotated once, the only one.
    assert [kind.share[0] for kind in result.kinds] == pytest.approx([1 / 3, 1 / 3, 0, 0, 0, 1 / 3])
    assert [kind.share[1] for kind in result.kinds] == pytest.approx([0, 0, 1 / 2, 1 / 2, 0, 0])
    assert result.map == pytest.approx(mean_average_precision(TRUTH, FOUND, 0.5).average_map)


def test_verdicts_by_row() -> None:
    shuffled = {name: [column[row] for row in (5, 0, 3, 1, 4, 2)] for name, column in FOUND.items()}
    found = verdicts(TRUTH, shuffled | {"labels": ["jump", "run", "run", "run", "fly", "run"]})
    names = ["" if kind < 0 else KINDS[kind] for kind in found.kind]
    assert names == ["background", "true positive", "localization", "double detection", "", "wrong label"]
    assert found.found_by.tolist() == [1, -1, -1]


def test_a_score_from_which_on_one_looks_changes_no_verdict() -> None:
    """So that the verdicts above any score can be read off those of all."""
    data = golden.load("thumos14_test")
    truth, found = golden.ground_truth(data), {name: np.asarray(c) for name, c in golden.predictions(data).items()}
    above = found["scores"] >= np.median(found["scores"])
    every = verdicts(truth, found)
    some = verdicts(truth, {name: column[above] for name, column in found.items()})
    assert some.kind.tolist() == every.kind[above].tolist()
    rows = np.flatnonzero(above)
    expected = np.where(np.isin(every.found_by, rows), every.found_by, -1)
    assert np.where(some.found_by >= 0, rows[some.found_by], -1).tolist() == expected.tolist()


def test_removing_false_positives_gains_what_mean_average_precision_says() -> None:
    data = golden.load("thumos14_test")
    truth, found = golden.ground_truth(data), golden.predictions(data)
    result = analyse(truth, found)
    assert result.map == pytest.approx(mean_average_precision(truth, found, 0.5).average_map, abs=1e-12)
    gains = {kind.name: kind.map_gain for kind in result.kinds}
    assert gains["true positive"] == 0
    assert all(gain >= 0 for gain in gains.values())
    for multiple in range(10):
        assert sum(kind.share[multiple] for kind in result.kinds) == pytest.approx(1)


def test_removing_false_positives_gains_what_detad_says() -> None:
    """Of classes with 3 and 1 annotations, the average is 2: by hand."""
    truth = {"video": ["v"] * 4, "segments": [[0, 10], [20, 30], [40, 50], [60, 70]], "labels": ["a", "a", "a", "b"]}
    found = {
        "video": ["v"] * 4,
        "segments": [[80, 90], [0, 10], [20, 30], [60, 70]],
        "labels": ["a", "a", "a", "b"],
        "scores": [0.9, 0.8, 0.7, 0.6],
    }
    result = analyse(truth, found)
    background = result.kinds[KINDS.index("background")]
    # Of a, at the second hit: 2 right and 1 wrong; in mAP_N 2 * 2 / 3 right of 2 * 2 / 3 + 1.
    assert result.map == pytest.approx((2 / 3 * 2 / 3 + 1) / 2)
    assert background.map_gain == pytest.approx((2 / 3 - 2 / 3 * 2 / 3) / 2)
    assert result.normalized_map == pytest.approx((2 / 3 * 4 / 7 + 1) / 2)
    assert background.normalized_map_gain == pytest.approx((2 / 3 - 2 / 3 * 4 / 7) / 2)


def detad_shares(truth: dict[str, Any], found: dict[str, Any], tiou: float, parts: int) -> list[list[float]]:
    """Shares by kind of each part, written down from the definition in DETAD (ECCV 2018), one prediction at a time."""

    def iou(a: list[float], b: list[float]) -> float:
        shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
        return shared / (a[1] - a[0] + b[1] - b[0] - shared)

    annotations = list(zip(truth["video"], truth["segments"], truth["labels"], strict=True))
    counts = np.zeros((parts, len(KINDS)))
    for label in set(truth["labels"]):
        number = truth["labels"].count(label)
        rows = [row for row in range(len(found["labels"])) if found["labels"][row] == label]
        taken: set[int] = set()
        for rank, row in enumerate(sorted(rows, key=lambda row: -found["scores"][row])):
            here = [
                (iou(found["segments"][row], segment), name, index)
                for index, (video, segment, name) in enumerate(annotations)
                if video == found["video"][row]
            ]
            free = [each for each in here if each[1] == label and each[0] >= tiou and each[2] not in taken]
            kind = 5
            if free:
                kind = 0
                taken.add(max(free)[2])
            elif here:
                overlap, name, _ = max(here)
                if overlap >= tiou:
                    kind = 1 if name == label else 2
                elif overlap >= 0.1:
                    kind = 3 if name == label else 4
            if rank // number < parts:
                counts[rank // number, kind] += 1
    return (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).tolist()


def test_shares_are_those_of_detad() -> None:
    """Two classes of two annotations; a worked example, and 200 drawn predictions against the definition."""
    truth = {"video": ["v"] * 4, "segments": [[0, 10], [20, 30], [40, 50], [60, 70]], "labels": ["a", "a", "b", "b"]}
    found = {
        "video": ["v"] * 6,
        "segments": [[0, 10], [1, 10], [27, 37], [40, 50], [80, 90], [44, 54]],
        "labels": ["a", "a", "a", "a", "b", "b"],
        "scores": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    }
    shares = np.array([kind.share for kind in analyse(truth, found, multiples=3).kinds]).T
    # First: hit, double detection; background, localization. Second: localization, wrong label. Third: none.
    np.testing.assert_allclose(shares, [[0.25, 0.25, 0, 0.25, 0, 0.25], [0, 0, 0.5, 0.5, 0, 0], [0] * 6])

    random = np.random.default_rng(0)
    start = random.uniform(0, 100, 240)
    segments = np.stack([start, start + random.uniform(2, 20, 240)], axis=1).tolist()
    videos, labels = random.choice(["v", "w"], 240).tolist(), random.choice(["a", "b", "c"], 240).tolist()
    truth = {"video": videos[:40], "segments": segments[:40], "labels": labels[:40]}
    found = {
        "video": [*videos[40:239], "elsewhere"],
        "segments": segments[40:],
        "labels": labels[40:],
        "scores": random.permutation(200).tolist(),
    }
    for tiou in (0.3, 0.5):
        shares = np.array([kind.share for kind in analyse(truth, found, tiou=tiou, multiples=7).kinds]).T
        assert (shares.sum(axis=0) > 0).all(), "each kind occurs"
        np.testing.assert_allclose(shares, detad_shares(truth, found, tiou, 7), atol=1e-12)


def test_buckets_partition_the_annotations() -> None:
    data = golden.load("thumos14_test")
    durations = {str(video): 1000.0 for video in data["video_ids"]}
    truth = golden.ground_truth(data)
    result = analyse(truth, golden.predictions(data), durations_sec=durations)
    for characteristic in ("length", "density", "coverage"):
        buckets = [bucket for bucket in result.buckets if bucket.characteristic == characteristic]
        assert len(buckets) == 5
        assert sum(bucket.annotations for bucket in buckets) == 3358
        assert max(bucket.annotations for bucket in buckets) < 1000
        assert all(0 <= bucket.normalized_map <= 1 and 0 <= bucket.missed <= 1 for bucket in buckets)
    # Equal durations make coverage a multiple of length: the same buckets.
    by_length, by_coverage = (
        [(b.annotations, b.normalized_map) for b in result.buckets if b.characteristic == name]
        for name in ("length", "coverage")
    )
    assert by_length == by_coverage


def test_missed_annotations_of_one_length_show_in_their_bucket() -> None:
    lengths = np.repeat([1.0, 5.0, 20.0], 10)
    start = np.arange(30) * 50.0
    truth = {"video": ["a"] * 30, "segments": np.stack([start, start + lengths], axis=1), "labels": [0] * 30}
    seen = lengths > 1
    found = {
        "video": ["a"] * 20,
        "segments": truth["segments"][seen],
        "labels": [0] * 20,
        "scores": np.linspace(0, 1, 20),
    }
    result = analyse(truth, found, num_buckets=3)
    lengths_found = {b.range: (b.missed, b.normalized_map) for b in result.buckets if b.characteristic == "length"}
    assert lengths_found == {"1 s": (1.0, 0.0), "5 s": (0.0, 1.0), "20 s": (0.0, 1.0)}
    assert [b.range for b in result.buckets if b.characteristic == "density"] == ["30"]


def test_no_prediction_at_all() -> None:
    result = analyse(TRUTH, {name: [] for name in FOUND})
    assert result.map == 0
    assert all(bucket.missed == 1 for bucket in result.buckets)
    assert "missed (%)" in analysis_table(result)


def test_command_line_prints_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ground_truth(tmp_path / "gt.json", TRUTH, subset="test", durations_sec={"a": 60.0, "b": 200.0})
    write_detections(tmp_path / "det.json", FOUND)
    files = ["--ground-truth", str(tmp_path / "gt.json"), "--predictions", str(tmp_path / "det.json")]
    output = ["--json", str(tmp_path / "out.json"), "--csv", str(tmp_path / "out.csv")]
    assert main([*files, "--tiou", "0.5,0.7", "--analyse", *output]) == 0
    printed = capsys.readouterr().out
    assert "top predictions at tIoU 0.5 (%)" in printed and "coverage" in printed
    written = json.loads((tmp_path / "out.json").read_text())["analysis"]
    assert [kind["name"] for kind in written["kinds"]] == list(KINDS)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "class,annotations,predictions,ap@0.5,ap@0.7,average"
    assert [line.split(",")[:3] for line in lines[1:]] == [["jump", "1", "1"], ["run", "2", "5"]]
