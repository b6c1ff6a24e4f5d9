# SPDX-License-Identifier: Apache-2.0
"""What must hold for any evaluation, and what is said about input that cannot be used."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_fast import native
from asl_fast.evaluation import CONVENTIONS, MeanAveragePrecision, mean_average_precision
from asl_fast.evaluation.average_precision import average_precision
from tests.drawing import draws

TIOUS = [0.1, 0.3, 0.5, 0.7, 0.9]
Table = dict[str, Any]


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, Table]:
    """Annotations and predictions with distinct scores, some in unannotated videos and of unannotated classes."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_gt, num_pred = draw(st.integers(1, 30)), draw(st.integers(0, 80))

    def segments(n: int) -> np.ndarray:
        start = random.uniform(0, 40, n)
        return np.stack([start, start + random.uniform(0.1, 12, n)], axis=1)

    truth = {
        "video": random.choice(["a", "b", "c"], num_gt),
        "segments": segments(num_gt),
        "labels": random.integers(0, 4, num_gt),
    }
    found = {
        "video": random.choice(["a", "b", "c", "elsewhere"], num_pred),
        "segments": segments(num_pred),
        "labels": random.integers(0, 6, num_pred),
        "scores": random.permutation(num_pred) / max(num_pred, 1),
    }
    copied = random.random(num_pred) < 0.5
    source = random.integers(0, num_gt, num_pred)
    for column in truth:
        found[column][copied] = truth[column][source[copied]]
    found["segments"] += random.uniform(0, 0.5, (num_pred, 1))
    return truth, found


def take(table: Table, rows: np.ndarray) -> Table:
    return {name: column[rows] for name, column in table.items()}


def check_equal(a: MeanAveragePrecision, b: MeanAveragePrecision) -> None:
    np.testing.assert_array_equal(a.classes, b.classes)
    np.testing.assert_allclose(a.ap, b.ap, rtol=0, atol=1e-12)


@pytest.mark.skipif(native.cpu_module() is None, reason=f"C++ module: {native.why_missing()}")
@pytest.mark.parametrize("convention", CONVENTIONS)
@settings(max_examples=draws(25), deadline=None)
@given(problem=tables())
def test_native_equals_numpy(convention: str, problem: tuple[Table, Table]) -> None:
    truth, found = problem
    if convention == "activitynet":
        found = take(found, np.isin(found["labels"], truth["labels"]))
    fast = mean_average_precision(truth, found, TIOUS, convention=convention)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "cpu_module", lambda: None)
        check_equal(fast, mean_average_precision(truth, found, TIOUS, convention=convention))


@settings(max_examples=draws(50), deadline=None)
@given(problem=tables(), seed=st.integers(0, 1000))
def test_invariances(problem: tuple[Table, Table], seed: int) -> None:
    truth, found = problem
    random = np.random.default_rng(seed)
    result = mean_average_precision(truth, found, TIOUS)
    assert ((result.ap >= 0) & (result.ap <= 1)).all()
    assert result.average_map == pytest.approx(result.ap.mean())

    shuffled = take(found, random.permutation(len(found["scores"])))
    check_equal(result, mean_average_precision(truth, shuffled, TIOUS))
    check_equal(result, mean_average_precision(truth, {**found, "scores": np.exp(3 * found["scores"])}, TIOUS))
    scaled = [{**table, "segments": 0.25 * table["segments"]} for table in problem]  # a power of two: exact
    check_equal(result, mean_average_precision(*scaled, TIOUS))
    renamed = [{**table, "video": np.char.add("v_", table["video"])} for table in problem]
    check_equal(result, mean_average_precision(*renamed, TIOUS))
    named = [{**table, "labels": np.array([f"class {i}" for i in table["labels"]], dtype=str)} for table in problem]
    np.testing.assert_allclose(mean_average_precision(*named, TIOUS).ap, result.ap, rtol=0, atol=1e-12)


@pytest.mark.parametrize("convention", ["default", "published"])
@settings(max_examples=draws(50), deadline=None)
@given(problem=tables(), seed=st.integers(0, 1000))
def test_the_order_of_the_files_never_matters(convention: str, problem: tuple[Table, Table], seed: int) -> None:
    """Nor where scores, overlaps and whole annotations are equal or nearly so."""
    truth, found = (dict(table) for table in problem)
    random = np.random.default_rng(seed)
    found["scores"] = np.round(found["scores"], 1)
    for table in (truth, found):
        table["segments"] = (
            np.round(table["segments"]) + [0, 1] + random.choice([0, 4e-4, 8e-4], (len(table["segments"]), 1))
        )
    results = [
        mean_average_precision(
            take(truth, random.permutation(len(truth["labels"]))),
            take(found, random.permutation(len(found["labels"]))),
            TIOUS,
            convention=convention,
        )
        for _ in range(3)
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(other.ap, results[0].ap)
        np.testing.assert_array_equal(other.annotations_per_class, results[0].annotations_per_class)


@settings(max_examples=draws(50), deadline=None)
@given(problem=tables())
def test_one_class_on_its_own_and_worse_predictions(problem: tuple[Table, Table]) -> None:
    truth, found = problem
    result = mean_average_precision(truth, found, TIOUS)
    for index, label in enumerate(result.classes):
        alone = mean_average_precision(
            take(truth, truth["labels"] == label), take(found, found["labels"] == label), TIOUS
        )
        np.testing.assert_allclose(alone.ap[:, 0], result.ap[:, index], rtol=0, atol=1e-12)
    # A false positive below everything else costs nothing; above everything else it can only cost.
    label = result.classes[0]
    for score, costs in ((-1.0, False), (2.0, True)):
        wrong = {"video": "a", "segments": [90.0, 91.0], "labels": label, "scores": score}
        more = {name: np.concatenate([found[name], np.array([wrong[name]])]) for name in found}
        changed = mean_average_precision(truth, more, TIOUS).ap
        assert (changed <= result.ap + 1e-12).all()
        if not costs:
            np.testing.assert_allclose(changed, result.ap, rtol=0, atol=1e-12)


@settings(max_examples=draws(50), deadline=None)
@given(problem=tables())
def test_perfect_predictions_score_one(problem: tuple[Table, Table]) -> None:
    truth, _ = problem
    perfect = {**truth, "scores": np.linspace(0, 1, len(truth["labels"]))}
    for convention in CONVENTIONS:
        result = mean_average_precision(truth, perfect, [0.5, 1.0], convention=convention)
        if result.num_removed_annotations == 0:
            assert (result.ap == 1).all()


def test_ap_falls_with_the_threshold_where_matching_cannot_trade() -> None:
    # One annotation per video and class: a higher threshold only turns true positives into false ones.
    random = np.random.default_rng(0)
    start = random.uniform(0, 50, (40, 1))
    truth = {"video": np.arange(40), "segments": np.hstack([start, start + 5]), "labels": np.arange(40) % 3}
    row = random.integers(0, 40, 400)
    found = {
        "video": row,
        "segments": truth["segments"][row] + random.normal(0, 1, (400, 1)),
        "labels": truth["labels"][row],
        "scores": random.permutation(400),
    }
    ap = mean_average_precision(truth, found, np.linspace(0.05, 1, 20)).ap
    assert (np.diff(ap, axis=0) <= 1e-12).all()
    assert ap[0].min() > 0.5


def brute_force_ap(hits: np.ndarray, count: int) -> float:
    """Compute the curve with its envelope, point by point."""
    precision = [hits[: i + 1].sum() / (i + 1) for i in range(len(hits))]
    recall = [0.0, *(hits[: i + 1].sum() / count for i in range(len(hits)))]
    return sum((recall[i + 1] - recall[i]) * max(precision[i:]) for i in range(len(hits)))


@settings(max_examples=draws(50), deadline=None)
@given(hits=st.lists(st.booleans(), max_size=40), missed=st.integers(0, 5))
def test_average_precision_is_the_area_under_the_interpolated_curve(hits: list[bool], missed: int) -> None:
    array = np.array(hits, dtype=np.bool_)
    count = max(int(array.sum()) + missed, 1)
    assert average_precision(array, count) == pytest.approx(brute_force_ap(array, count), abs=1e-12)


TRUTH: Table = {"video": ["a", "b"], "segments": [[0.0, 10.0], [5.0, 9.0]], "labels": [0, 1]}
FOUND: Table = {"video": ["a", "b"], "segments": [[0.0, 10.0], [5.0, 8.0]], "labels": [0, 1], "scores": [0.9, 0.8]}


class Frame:
    """A stand-in for a data frame: columns by name, no mapping, segments in two columns."""

    def __init__(self, columns: Table) -> None:
        self.columns = columns

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def keys(self) -> list[str]:
        return list(self.columns)


def as_frame(table: Table) -> Frame:
    segments = np.array(table["segments"])
    rest = {name: np.array(column, dtype=object) for name, column in table.items() if name != "segments"}
    return Frame(rest | {"start": segments[:, 0], "end": segments[:, 1]})


@pytest.mark.parametrize(
    "convert",
    [
        lambda table: {name: np.array(column) for name, column in table.items()},
        as_frame,
        lambda table: {n: c if n == "video" else torch.tensor(c) for n, c in table.items()},
        lambda table: {n: c if n == "video" else np.array(c, dtype=np.float16 if n == "segments" else None)
                       for n, c in table.items()},
        lambda table: {n: [list(row) for row in c] if n == "segments" else tuple(c) for n, c in table.items()},
    ],
    ids=["arrays", "frame", "tensors", "half", "lists"],
)  # fmt: skip
def test_accepts_any_columns(convert: Any) -> None:
    result = mean_average_precision(convert(TRUTH), convert(FOUND), [0.5, 0.8])
    np.testing.assert_array_equal(result.ap, [[1, 1], [1, 0]])
    np.testing.assert_array_equal(result.map, [1, 0.5])
    assert result.average_map == 0.75
    assert (result.num_ground_truth, result.num_predictions) == (2, 2)
    with pytest.raises(FrozenInstanceError):
        result.average_map = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_accepts_tensors_as_a_network_gives_them(dtype: torch.dtype) -> None:
    """With a gradient, in half precision, and as a list of such."""
    found = dict(FOUND)
    for column in ("segments", "scores"):
        found[column] = torch.tensor(FOUND[column], dtype=dtype, requires_grad=True)
    for table in (found, found | {column: list(found[column]) for column in ("segments", "scores")}):
        np.testing.assert_array_equal(mean_average_precision(TRUTH, table, [0.5, 0.8]).ap, [[1, 1], [1, 0]])


@pytest.mark.parametrize("empty", [[], np.zeros(0), np.zeros(0, dtype=object)])
def test_no_prediction_scores_zero(empty: Any) -> None:
    found = {"video": empty, "segments": empty, "labels": empty, "scores": empty}
    result = mean_average_precision(TRUTH, found, 0.5)
    np.testing.assert_array_equal(result.ap, [[0, 0]])
    assert result.num_predictions == 0


def test_counts_and_plain_numbers() -> None:
    truth = {"video": ["a"] * 3, "segments": [[0, 1], [0, 1], [2, 2]], "labels": ["x", "x", "y"]}
    found = {"video": ["a"] * 2, "segments": [[0, 1], [0, 1]], "labels": ["x", "z"], "scores": [1, 2]}
    record = mean_average_precision(truth, found, [0.5], convention="published").as_dict()
    assert record == {
        "convention": "published",
        "tiou_thresholds": [0.5],
        "map": [1.0],
        "average_map": 1.0,
        "num_ground_truth": 1,
        "num_predictions": 1,
        "num_removed_annotations": 2,
        "num_ignored_predictions": 1,
        "per_class": {"x": {"ap": [1.0], "annotations": 1, "predictions": 1}},
    }


NAN = float("nan")


@pytest.mark.parametrize(
    ("side", "column", "value", "error", "message"),
    [
        (0, "labels", None, KeyError, r"ground_truth has no column 'labels'; found \['segments', 'video'\]"),
        (1, "scores", None, KeyError, "predictions has no column 'scores'"),
        (1, "scores", [0.5, NAN], ValueError, r"predictions\['scores'\]\[1\] of video b is NaN"),
        (1, "scores", [0.5], ValueError, r"predictions\['scores'\] must have shape \(2,\).*found \(1,\)"),
        (1, "scores", ["x", "y"], TypeError, r"predictions\['scores'\] must hold numbers"),
        (0, "segments", [[0, 1], [9, 5]], ValueError, r"\['segments'\]\[1\] of video b ends before it starts: \[9"),
        (1, "segments", [[0, NAN], [5, 9]], ValueError, r"\['segments'\]\[0\] of video a is \[0.0, nan\]"),
        (1, "segments", [[0, 1, 2], [3, 4, 5]], ValueError, r"must have shape \(N, 2\).*found \(2, 3\)"),
        (1, "segments", [["x", "y"], ["z", "w"]], TypeError, r"predictions\['segments'\] must hold numbers"),
        (0, "labels", [0], ValueError, r"ground_truth\['labels'\] must have shape \(2,\).*found \(1,\)"),
        (0, "labels", [0.5, 1.0], TypeError, r"only strings or only integers; found float64, first 0.5"),
        (0, "video", np.array(["a", 1], dtype=object), TypeError, r"\['video'\] must hold only strings"),
        (1, "labels", ["x", "y"], TypeError, r"ground_truth\['labels'\] holds integers and predictions\['labels'\] h"),
        (1, "video", [1, 2], TypeError, r"ground_truth\['video'\] holds strings and predictions\['video'\] holds int"),
    ],
)  # fmt: skip
def test_unusable_columns_are_named(side: int, column: str, value: Any, error: type[Exception], message: str) -> None:
    pair = [dict(TRUTH), dict(FOUND)]
    if value is None:
        del pair[side][column]
    else:
        pair[side][column] = value
    with pytest.raises(error, match=message):
        mean_average_precision(pair[0], pair[1], 0.5)


@pytest.mark.parametrize("tiou", [[], [0.0], [1.01], [NAN], [[0.5]], -0.5])
def test_unusable_thresholds_are_named(tiou: Any) -> None:
    with pytest.raises(ValueError, match="tiou_thresholds must"):
        mean_average_precision(TRUTH, FOUND, tiou)


def test_empty_ground_truth_is_an_error() -> None:
    with pytest.raises(ValueError, match="ground_truth holds no annotation"):
        mean_average_precision({"video": [], "segments": [], "labels": []}, FOUND, 0.5)
    short = {"video": ["a"], "segments": [[1.0, 1.0]], "labels": [0]}
    with pytest.raises(ValueError, match="1 annotation, all removed as too short"):
        mean_average_precision(short, FOUND, 0.5, convention="opentad")


def test_unknown_convention_is_named() -> None:
    with pytest.raises(ValueError, match="unknown evaluation convention 'theirs'; choose one of default, published"):
        mean_average_precision(TRUTH, FOUND, 0.5, convention="theirs")
