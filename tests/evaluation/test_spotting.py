# SPDX-License-Identifier: Apache-2.0
"""The tracks' own way of counting, against results worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asl_fast.evaluate import main
from asl_fast.evaluation.activitynet_json import read_ground_truth, write_detections, write_ground_truth
from asl_fast.evaluation.columns import Columns
from asl_fast.evaluation.protocols import evaluate_protocol, get_protocol, run_protocol
from asl_fast.evaluation.spotting import SpottingRule, choose_results, frames_of, spot
from asl_fast.evaluation.table import result_table

SHREC22, SHREC21 = (get_protocol(name).measures[-1].spotting for name in ("shrec22", "shrec21"))
Row = tuple[str, str, float, float]


def columns(rows: list[Row], scores: list[float] | None = None) -> Columns:
    video, labels, start, end = zip(*rows, strict=True) if rows else ((),) * 4
    segments = np.stack([np.array(start, np.float64), np.array(end, np.float64)], axis=1)
    values = np.linspace(0.9, 0.8, len(rows)) if scores is None else np.array(scores)
    return Columns(np.array(video, dtype=str), segments, np.array(labels, dtype=str), values)


def counted(rule: SpottingRule | None, gestures: list[Row], results: list[Row]) -> dict[str, tuple[int, int, int]]:
    """By class: found, missed, false."""
    assert rule is not None
    found = spot(columns(gestures), columns(results), rule, score_threshold=0.0)
    pairs = zip(
        found.classes.tolist(), found.correct.tolist(), found.missed.tolist(), found.false.tolist(), strict=True
    )
    return {name: (right, missed, wrong) for name, right, missed, wrong in pairs}


GESTURES: list[Row] = [("1", "A", 10, 20), ("1", "B", 40, 50), ("2", "A", 5, 15)]


@pytest.mark.parametrize(
    ("results", "in_2022", "in_2021"),
    [
        ([], {"A": (0, 2, 0), "B": (0, 1, 0)}, {"A": (0, 2, 0), "B": (0, 1, 0)}),
        # Exactly half of A is enough in 2022 alone; there a result that covers less only misses.
        ([("1", "A", 15, 25)], {"A": (1, 1, 0), "B": (0, 1, 0)}, {"A": (0, 2, 1), "B": (0, 1, 0)}),
        ([("1", "A", 16, 25)], {"A": (0, 2, 0), "B": (0, 1, 0)}, {"A": (0, 2, 1), "B": (0, 1, 0)}),
        # Twice as long as the gesture is allowed in 2022, more is not; in 2021 all is.
        ([("1", "A", 5, 25)], {"A": (1, 1, 0), "B": (0, 1, 0)}, {"A": (1, 1, 0), "B": (0, 1, 0)}),
        ([("1", "A", 4, 25)], {"A": (0, 2, 1), "B": (0, 1, 0)}, {"A": (1, 1, 0), "B": (0, 1, 0)}),
        # Of the wrong class: B answers for it in 2022, A, which lies there, in 2021.
        ([("1", "B", 10, 20)], {"A": (0, 2, 0), "B": (0, 1, 1)}, {"A": (0, 2, 1), "B": (0, 1, 0)}),
        # Outside of everything, and in a recording of its own.
        ([("1", "B", 70, 80)], {"A": (0, 2, 0), "B": (0, 1, 1)}, {"A": (0, 2, 0), "B": (0, 1, 1)}),
        ([("3", "B", 70, 80)], {"A": (0, 2, 0), "B": (0, 1, 1)}, {"A": (0, 2, 0), "B": (0, 1, 1)}),
        # A class that is never annotated has no row to be counted in.
        ([("1", "C", 70, 80)], {"A": (0, 2, 0), "B": (0, 1, 0)}, {"A": (0, 2, 0), "B": (0, 1, 0)}),
        # Found again: a false positive in 2022.
        (
            [("1", "A", 10, 15), ("1", "A", 15, 20), ("2", "A", 6, 16)],
            {"A": (2, 0, 1), "B": (0, 1, 0)},
            {"A": (1, 1, 2), "B": (0, 1, 0)},
        ),
    ],
)
def test_counts_by_hand(results: list[Row], in_2022: dict[str, object], in_2021: dict[str, object]) -> None:
    assert counted(SHREC22, GESTURES, results) == in_2022
    assert counted(SHREC21, GESTURES, results) == in_2021


def test_rates_are_means_over_classes() -> None:
    assert SHREC22 is not None
    results: list[Row] = [("1", "A", 10, 20), ("1", "B", 41, 52), ("1", "B", 70, 75), ("2", "B", 30, 35)]
    found = spot(columns(GESTURES), columns(results), SHREC22, score_threshold=0.0)
    # A: 1 of 2, none false; B: 1 of 1, 2 false.
    assert found.detection_rate == pytest.approx((1 / 2 + 1) / 2)
    assert found.false_positive_rate == pytest.approx((0 + 2) / 2)
    assert found.jaccard == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found.as_dict()["per_class"]["B"] == {"annotated": 1, "correct": 1, "false": 2, "jaccard": 1 / 3}
    assert not found.by_frame


def test_frames_count_from_border_to_border() -> None:
    borders = np.array([0.0, 0.1, 0.3, 0.4, 0.8])
    segments = np.array([[0.1, 0.4], [0.16, 0.33], [0.21, 0.29], [0.0, 0.8], [0.9, 2.0], [0.05, 0.05]])
    np.testing.assert_array_equal(frames_of(segments, borders), [[1, 2], [1, 1], [2, 2], [0, 3], [3, 3], [0, 0]])


def test_long_frames_decide_where_seconds_would_not() -> None:
    assert SHREC22 is not None
    # Frames 0 to 9 last 0.1 s each, but frame 5 a whole second: in seconds the result covers 4 of 14 tenths, and it
    # covers frames 0 to 3 of frames 0 to 7, of which 3 / 7 is too little; one frame more is enough.
    borders = {"1": np.cumsum([0.0, *[0.1] * 5, 1.0, *[0.1] * 4])}
    gesture = columns([("1", "A", 0.0, 1.7)])
    for end, right in ((0.4, 0), (0.5, 1)):
        found = spot(gesture, columns([("1", "A", 0.0, end)]), SHREC22, score_threshold=0.0, borders_sec=borders)
        assert (found.correct.tolist(), found.by_frame) == ([right], True)
        in_seconds = spot(gesture, columns([("1", "A", 0.0, end)]), SHREC22, score_threshold=0.0)
        assert (in_seconds.correct.tolist(), in_seconds.by_frame) == ([0], False)


def test_results_are_the_best_that_do_not_overlap() -> None:
    rows: list[Row] = [
        ("1", "A", 0, 10),  # 0.5: overlaps a better one of another class
        ("1", "B", 5, 15),  # 0.9
        ("1", "A", 14, 30),  # 0.6: shares a tenth of the shorter one
        ("2", "A", 0, 10),  # 0.2: below the threshold
        ("2", "A", 3, 3),  # empty
        ("1", "C", 6, 7),  # 0.4: inside a better one
        ("1", "A", 40, 50),  # at the threshold
    ]
    scores = [0.5, 0.9, 0.6, 0.2, 0.8, 0.4, 0.3]
    assert choose_results(columns(rows, scores), 0.3).tolist() == [1, 2, 6]
    assert choose_results(columns([], []), 0.3).tolist() == []


def test_protocol_of_a_run_and_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"tiou_thresholds": (0.5,), "strict_thresholds": (), "convention": "default", "spotting_threshold": 0.55}
    protocol = run_protocol("shrec22", settings)
    gestures, results = columns([("1", "ONE", 0.1, 0.4)]), columns([("1", "ONE", 0.1, 0.4)], [0.5])
    tables = [{"video": c.video, "segments": c.segments_sec, "labels": c.labels} for c in (gestures, results)]
    tables[1]["scores"] = results.scores
    borders = {"1": [0.0, 0.1, 0.3, 0.4]}
    text = result_table(evaluate_protocol(protocol, *tables, borders_sec=borders))
    assert "this (offline), scores from 0.55" in text and "Causal TCN (published, online)" in text
    assert "0.0000" in text and "0.6845" in text and "in seconds" not in text
    lower = replace(protocol, measures=(*protocol.measures[:1], replace(protocol.measures[1], score_threshold=0.5)))
    spotted = evaluate_protocol(lower, *tables, borders_sec=borders).as_dict()["measures"]["spotting"]
    assert (spotted["jaccard"], spotted["by_frame"]) == (1.0, True)

    # The borders travel with the files.
    write_ground_truth(tmp_path / "g.json", tables[0], subset="test", durations_sec={"1": 0.4}, borders_sec=borders)
    write_detections(tmp_path / "d.json", tables[1])
    assert read_ground_truth(tmp_path / "g.json").borders_sec["1"].tolist() == borders["1"]
    files = ["--ground-truth", str(tmp_path / "g.json"), "--predictions", str(tmp_path / "d.json")]
    assert main([*files, "--protocol", "shrec22"]) == 0
    shown = capsys.readouterr().out
    assert "shrec22's own protocol  " in shown and "scores from 0.3  " in shown
    text = (tmp_path / "g.json").read_text().replace("0.3,", "9,")
    (tmp_path / "g.json").write_text(text)
    assert main([*files, "--protocol", "shrec22"]) == 0
    assert "in seconds as the frames are not known" in capsys.readouterr().out
