# SPDX-License-Identifier: Apache-2.0
"""Detection in a set of recordings from Python: what cannot be used is left out or stops it, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.detection.recordings import Recordings, open_recordings
from asl_fast.detection.run import detect_recordings, write_found
from asl_fast.detection.trained import TrainedDetector, load_trained
from asl_fast.evaluation.activitynet_json import read_detections
from asl_fast.files import read_named_numbers
from asl_fast.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from asl_fast.training.data import describe_dataset
from asl_fast.training.inference import NonFiniteOutputError, Recording
from asl_fast.training.loop import train
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import CPU, DIM, tiny_bundle, tiny_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedDetector:
    folder, bundle = RunFolder(tmp_path_factory.mktemp("run")), tiny_bundle()
    folder.create()
    train(tiny_config(epochs=1), bundle, folder, CPU, dataset_record=describe_dataset(bundle))
    return load_trained(folder.path)


@pytest.fixture
def recordings(trained: TrainedDetector, tmp_path: Path) -> Recordings:
    """Three recordings of 30, 20 and 10 seconds; the second holds a number that is none."""
    for index in range(3):
        array = np.random.default_rng(index).standard_normal((30 - 10 * index, DIM)).astype(np.float32)
        if index == 1:
            array[4, 2] = np.nan
        np.save(tmp_path / f"recording{index}.npy", array)
    return open_recordings([tmp_path], trained.dataset)


def test_an_unusable_recording_is_left_out_with_its_reason(trained: TrainedDetector, recordings: Recordings) -> None:
    found = detect_recordings(trained, recordings, batch_size=2)
    assert list(found.detections) == ["recording0", "recording2"]
    assert found.durations_sec == {"recording0": 30.0, "recording2": 10.0}
    assert list(found.skipped) == ["recording1"]
    assert "recording1.npy: value nan at step 4, channel 2" in str(found.skipped["recording1"])
    for name, detections in found.detections.items():
        assert len(detections.scores) > 0 and (detections.scores.diff() <= 0).all()
        assert detections.segments.min() >= 0 and detections.segments.max() <= found.durations_sec[name]


def test_strict_stops_there(trained: TrainedDetector, recordings: Recordings) -> None:
    with pytest.raises(ValueError, match=r"recording1\.npy: value nan"):
        detect_recordings(trained, recordings, strict=True)


def test_nothing_usable_is_an_error(trained: TrainedDetector, recordings: Recordings) -> None:
    with pytest.raises(ValueError, match=r"recording1\.npy: value nan"):
        detect_recordings(trained, Recordings(("recording1",), recordings.open))


def test_what_is_written_can_be_read(trained: TrainedDetector, recordings: Recordings, tmp_path: Path) -> None:
    found = detect_recordings(trained, recordings)
    path = tmp_path / "found.json"
    write_found(path, found, trained)
    read = read_detections(path, strict=True)
    assert set(read.videos) == set(found.detections)
    np.testing.assert_array_equal(
        [trained.class_names[label] for each in found.detections.values() for label in each.labels.tolist()],
        read.columns["labels"],
    )
    source = json.loads(path.read_text())["external_data"]
    assert source["checkpoint"] == str(trained.path) and source["synthetic"] is True


def test_durations_are_numbers_by_name(tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text('{"a": 1.5, "b": "2"}')
    assert read_named_numbers(path, "seconds") == {"a": 1.5, "b": 2.0}
    path.write_text('{"a": "long"}')
    with pytest.raises(ValueError, match=r"durations\.json, 'a': expected a number, found 'long'"):
        read_named_numbers(path, "seconds")
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"must be JSON like"):
        read_named_numbers(path, "seconds")
    with pytest.raises(FileNotFoundError, match=r"durations\.json"):
        read_named_numbers(tmp_path / "other" / "durations.json", "seconds")


def test_a_recording_that_the_network_cannot_take_costs_itself_alone(
    trained: TrainedDetector, recordings: Recordings, tmp_path: Path
) -> None:
    """Its values are numbers, but their squares do not fit into float32."""
    names = ("huge", "recording0", "recording2")
    opened = open_recordings([tmp_path], trained.dataset)
    features = torch.full((20, DIM), 1e30)
    features[:, 0] = 3e38
    # Files that hold such values are refused when they are read.
    huge = replace(opened.open("recording0"), video_id="huge", num_steps=len(features), read=lambda a, b: features[a:b])

    def open_one(name: str) -> Recording:
        return huge if name == "huge" else opened.open(name)

    with pytest.raises(NonFiniteOutputError, match=r"huge: the network gives NaN or infinity .* reach 3e\+38"):
        list(trained.detect([huge.sample()]))
    expected = detect_recordings(trained, Recordings(names[1:], opened.open), batch_size=2)
    found = detect_recordings(trained, Recordings(names, open_one), batch_size=3)
    assert list(found.skipped) == ["huge"] and list(found.detections) == list(names[1:])
    for name in names[1:]:
        assert torch.equal(found.detections[name].segments, expected.detections[name].segments)
    with pytest.raises(NonFiniteOutputError, match="huge"):
        detect_recordings(trained, Recordings(names, open_one), strict=True)
    with pytest.raises(NonFiniteOutputError, match="huge"):
        detect_recordings(trained, Recordings(("huge",), open_one))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(trained: TrainedDetector, tmp_path: Path, value: float) -> None:
    content = load_checkpoint(trained.path)
    name = next(name for name in content["average"]["module"] if name.endswith("weight"))
    content["average"]["module"][name].flatten()[2] = value
    path = tmp_path / "last.pt"
    save_checkpoint(path, content)
    with pytest.raises(CheckpointError, match=rf"last\.pt: average\.module\.{name}\[.*\] is {value}"):
        load_trained(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("average"), "lacks 'average'"),
        (lambda c: c.update(epoch=None), "'epoch' is None"),
        (lambda c: c["average"]["module"].popitem(), r"lacks average\.regression_head"),
        (lambda c: c["config"]["model"].update(width=32), r"average\..* has shape .*, but its configuration makes it"),
        (lambda c: c["config"]["model"].update(width=2**24), r"but its configuration makes it"),
        (lambda c: c["config"]["model"].update(num_heads=3), r"model\.width 16 is not a multiple"),
        (lambda c: c["dataset"].pop("grid"), r"lacks 'dataset\.grid'"),
        (lambda c: c["dataset"]["class_names"].pop(), r"'dataset\.class_names' says 1, but its detector has 2"),
        (lambda c: c["dataset"]["grid"].update(fps=0.0), r"'dataset' cannot be used: .*fps must be positive"),
        (lambda c: c["dataset"]["grid"].update(rate=1.0), r"'dataset' cannot be used: .*rate"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_where(
    trained: TrainedDetector, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    content = load_checkpoint(trained.path)
    change(content)
    path = tmp_path / "last.pt"
    save_checkpoint(path, content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_trained(path)
    assert str(path) in str(caught.value)


def _on(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


def test_bfloat16_where_the_processor_computes_in_it(
    trained: TrainedDetector, recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on(monkeypatch, {"avx512_bf16": True})
    exact = detect_recordings(trained, recordings).detections
    for precision in ("bf16", "auto"):
        found = detect_recordings(trained.with_precision(precision), recordings).detections
        assert found.keys() == exact.keys()
        for name, each in found.items():
            assert not torch.equal(each.scores[:5], exact[name].scores[:5])
            torch.testing.assert_close(each.scores[:5], exact[name].scores[:5], rtol=0.05, atol=0.01)
    again = detect_recordings(trained.with_precision("bf16").with_precision("fp32"), recordings).detections
    assert all(torch.equal(again[name].scores, each.scores) for name, each in exact.items())


def test_bfloat16_is_refused_where_it_would_be_emulated(
    trained: TrainedDetector, recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on(monkeypatch, {"avx512_bf16": False, "avx2": True})
    with pytest.raises(ValueError, match="--precision bf16: this processor does not compute in bfloat16"):
        trained.with_precision("bf16")
    exact = detect_recordings(trained, recordings).detections
    auto = detect_recordings(trained.with_precision("auto"), recordings).detections
    assert all(torch.equal(auto[name].scores, each.scores) for name, each in exact.items())
