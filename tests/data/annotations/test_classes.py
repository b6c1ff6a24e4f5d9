# SPDX-License-Identifier: Apache-2.0
"""Class ids are names: how large they are says nothing about how many there are."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from asl_fast.data.annotations.action_lists import read_action_lists
from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.classes import ids_count, number_classes
from asl_fast.data.annotations.entries import class_id
from asl_fast.data.custom.data import read_own_annotations
from asl_fast.evaluation.activitynet_json import read_ground_truth


def write(path: Path, *instances: dict[str, Any]) -> Path:
    entries = [{"segment": [0, 1]} | item for item in instances]
    path.write_text(json.dumps({"database": {"a": {"subset": "train", "duration": 9.0, "annotations": entries}}}))
    return path


@pytest.mark.parametrize("large", [10**6, 10**9, 2**63 - 1, 2**70])
def test_a_large_id_is_a_name(tmp_path: Path, large: int, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.json", {"label": "b", "label_id": large}, {"label": "a", "label_id": 3})
    tracemalloc.start()
    read = read_activitynet_json(path, strict=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read.class_names == ("a", "b") and read.videos["a"].labels.tolist() == [1, 0]
    assert peak < 2**20 and f"class ids go up to {large}, but 2 occur" in caplog.text
    assert read_ground_truth(path, strict=True).columns["labels"].tolist() == ["b", "a"]


@pytest.mark.parametrize("large", [10**9, 10**12])
def test_a_large_id_in_the_place_of_a_name(tmp_path: Path, large: int) -> None:
    path = write(tmp_path / "a.json", {"label": large}, {"label": 1})
    assert read_activitynet_json(path).class_names == ("class_1", f"class_{large}")
    assert read_ground_truth(path).columns["labels"].tolist() == [large, 1]
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"a": {"subset": "train", "duration": 9.0, "actions": [[large, 0, 1], [1, 2, 3]]}}))
    read = read_action_lists(lists, name="x", strict=True)
    assert read.class_names == ("class_1", f"class_{large}") and read.videos["a"].labels.tolist() == [1, 0]
    own, decision = read_own_annotations(lists, "x")
    assert own.class_names == read.class_names and decision.value.startswith("2 (")


def test_an_id_that_no_table_holds_costs_its_entry(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"label": 2**70}, {"label": 1})
    assert read_activitynet_json(path).left_out == {"a": 1}
    assert len(read_ground_truth(path).left_out) == 1


def test_ids_of_any_kind(tmp_path: Path) -> None:
    assert [class_id(value) for value in (2, 2.0, "2", "007")] == [2, 2, 2, 7]
    assert {class_id(value) for value in (-1, 2.5, "x", True, None, float("nan"), float("inf"), "9" * 5000)} == {None}
    kinds: list[Any] = [1.0, "1", 1]
    for kind in kinds:
        path = write(tmp_path / "a.json", {"label": "b", "label_id": kind}, {"label": "a", "label_id": 0})
        assert read_activitynet_json(path, strict=True).class_names == ("a", "b")


def test_ids_in_some_entries_only(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json",
        {"label": "b", "label_id": 0},
        {"label": "b"},
        {"label": "b", "label_id": float("nan")},
        {"label": "c"},
        {"label": "a", "label_id": 1},
    )
    read = read_activitynet_json(path, strict=True)
    assert read.class_names == ("b", "a", "c") and read.videos["a"].labels.tolist() == [0, 0, 0, 2, 1]


def test_when_ids_count_classes() -> None:
    assert ids_count([]) and ids_count([0, 999]) and ids_count(range(0, 8000, 4)) and not ids_count([0, 1000])
    found = number_classes({1: "b"}, [2], [], "here")
    assert found.names == ("unused_0", "b", "class_2") and found.labels["b"] == found.labels[1] == 1
    # A class may be called what another one would be called for want of a name.
    odd = number_classes({1: "class_0"}, [0], [], "here")
    assert odd.names == ("class_0", "class_0") and odd.labels["class_0"] == 1 and odd.labels[0] == 0
