# SPDX-License-Identifier: Apache-2.0
"""Benchmarks from files in their real layouts: real annotations where they are at hand, features written here."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.crop import clean_segments
from asl_fast.data.datasets.benchmarks import VIDEO_BENCHMARKS, load_annotations
from asl_fast.data.features.manifest import MANIFESTS, FeatureManifest
from asl_fast.data.load import load_dataset
from tests.shared import shared_file

RNG = np.random.default_rng(0)


def features(steps: int, dim: int) -> np.ndarray:
    return RNG.normal(size=(steps, dim)).astype(np.float16)


@pytest.fixture
def thumos(tmp_path: Path) -> Path:
    """Real THUMOS14 annotations of the ten shortest videos a split, with features of the last two."""
    return thumos_root(tmp_path / "thumos")


def annotation_subset(name: str, keys: list[str], target: Path) -> None:
    """Write the real annotation file with only some of its videos."""
    content = json.loads(shared_file(f"data/annotations/{name}").read_text())
    if "database" in content:
        content["database"] = {key: content["database"][key] for key in keys}
    else:
        content = {key: content[key] for key in keys}
    target.write_text(json.dumps(content))


def thumos_root(root: Path, *, stride: int = 4) -> Path:
    (root / "annotations").mkdir(parents=True)
    (root / "features").mkdir()
    content = json.loads(shared_file("data/annotations/thumos14.json").read_text())["database"]
    kept = []
    for subset in ("Validation", "Test"):
        keys = [key for key, entry in content.items() if entry["subset"] == subset]
        keys = sorted(keys, key=lambda key: content[key]["duration"])[:10]
        kept += keys
        for key in keys[-2:]:
            steps = int((content[key]["duration"] * content[key]["fps"] - 16) / stride) + 1
            np.save(root / "features" / f"{key}.npy", features(steps, 2048))
    annotation_subset("thumos14.json", kept, root / "annotations" / "thumos14.json")
    return root


def test_thumos14(thumos: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        bundle = load_dataset("thumos14", thumos, max_length=32)
    assert (len(bundle.train), len(bundle.test), bundle.feature_dim) == (2, 2, 2048)
    assert not bundle.synthetic and bundle.metadata["manifest"] == "thumos14-i3d"
    assert bundle.metadata["problems"] == {"video without features": 16}
    assert "16 x video without features" in caplog.text and caplog.text.count("skipping video") == 3
    assert {v.subset for v in bundle.train.videos} == {"Validation"} and bundle.train.training
    assert {v.subset for v in bundle.test.videos} == {"Test"} and not bundle.test.training
    assert len(bundle.annotations.videos) == 4
    assert bundle.train.max_length == 32 and bundle.train.truncation_threshold == 0.5
    assert all(len(bundle.train[index].features) <= 32 for index in range(2))
    sample, video = bundle.test[0], bundle.test.videos[0]
    assert video.fps is not None
    clean = clean_segments(video.segments_sec, video.labels, video.duration_sec)
    expected = clean.segments_sec * video.fps / 4 - 2
    np.testing.assert_allclose(sample.segments.numpy(), expected, rtol=1e-6, atol=1e-5)


def test_strict_stops_at_a_missing_file(thumos: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no features for video 'video_"):
        load_dataset("thumos14", thumos, strict=True)


@pytest.mark.parametrize("damage", ["truncated", "nan", "narrow"])
@pytest.mark.parametrize("verify", [True, False])
def test_damaged_feature_file(thumos: Path, damage: str, verify: bool) -> None:
    file = min((thumos / "features").glob("video_validation*"))
    values = np.load(file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "nan":
        values[3, 4] = np.nan
        np.save(file, values)
    else:
        np.save(file, values[:, :2047])
    options = {"manifest": "thumos14-i3d", "verify": verify, "store": {"dim": 2048}}
    bundle = load_dataset("thumos14", thumos, **options)
    if damage == "nan" and not verify:
        # Headers do not tell: the error comes when the video is used.
        with pytest.raises(ValueError, match=rf"{file.name}: value nan"):
            list(bundle.train)
        return
    assert len(bundle.train) == 1 and bundle.metadata["skipped"][file.stem] == "video with unusable features"


def test_no_video_left(thumos: Path) -> None:
    for file in (thumos / "features").glob("video_validation*"):
        file.unlink()
    with pytest.raises(ValueError, match="no video left"):
        load_dataset("thumos14", thumos)


@pytest.mark.parametrize(("stride", "ratio"), [(8, r"0\.5"), (2, r"[12]\.\d")])
def test_wrong_stride_is_caught(tmp_path: Path, stride: int, ratio: str) -> None:
    root = thumos_root(tmp_path / "wrong", stride=stride)
    with pytest.raises(
        ValueError, match=rf"thumos14: videos have {ratio}.* times the feature vectors .*'thumos14-i3d'"
    ):
        load_dataset("thumos14", root)


def test_one_video_of_another_length(thumos: Path) -> None:
    file = min((thumos / "features").glob("video_test*"))
    np.save(file, np.load(file)[:20])
    bundle = load_dataset("thumos14", thumos)
    assert bundle.metadata["problems"]["video whose features do not cover its duration"] == 1
    assert len(bundle.test) == 2


def test_multithumos_in_one_h5_with_frame_rates(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    keys = ["video_test_0001058", "video_validation_0000053"]
    annotation_subset("multithumos.json", keys, tmp_path / "multithumos.json")
    content = json.loads((tmp_path / "multithumos.json").read_text())
    with h5py.File(tmp_path / "features.h5", "w") as file:
        for key in keys:
            fps = 25 if key == "video_test_0001058" else 30
            file[key] = features(int((content[key]["duration"] * fps - 16) / 4) + 1, 1024)
    bundle = load_dataset("multithumos", tmp_path)
    assert (len(bundle.train), len(bundle.test), bundle.num_classes) == (1, 1, 65)
    assert bundle.test[0].grid.fps == 25 and bundle.train[0].grid.fps == 30


def test_charades(tmp_path: Path) -> None:
    content = json.loads(shared_file("data/annotations/charades.json").read_text())
    keys = [next(key for key, entry in content.items() if entry["subset"] == name) for name in ("training", "testing")]
    annotation_subset("charades.json", keys, tmp_path / "charades.json")
    shutil.copy(shared_file("data/annotations/charades_classes.txt"), tmp_path)
    (tmp_path / "i3d_features").mkdir()
    for key in keys:
        # As the dense-prediction papers store them: (T, 1, 1, D).
        steps = int(content[key]["duration"] * 3)
        np.save(tmp_path / "i3d_features" / f"{key}.npy", features(steps, 1024)[:, None, None])
    bundle = load_dataset("charades", tmp_path)
    assert [v.id for v in (*bundle.train.videos, *bundle.test.videos)] == keys
    assert bundle.test[0].features.shape == (steps, 1024)
    assert bundle.class_names[0] == "Holding some clothes"


def epic_root(root: Path) -> Path:
    root.mkdir()
    names = [
        f"EPIC_100_{name}" for name in ("validation.csv", "video_info.csv", "verb_classes.csv", "noun_classes.csv")
    ]
    for name in names:
        shutil.copy(shared_file(f"data/annotations/{name}"), root)
    shutil.copy(shared_file("data/annotations/EPIC_100_train_reconstructed.csv.gz"), root / "EPIC_100_train.csv.gz")
    (root / "features").mkdir()
    for key, seconds in (("P01_12", 173.8), ("P01_03", 118.9)):
        np.savez(root / "features" / f"{key}.npz", feats=features(int(seconds * 30 / 16), 2304))
    return root


def test_epic100(tmp_path: Path) -> None:
    root = epic_root(tmp_path / "epic")
    verb = load_dataset("epic100-verb", root)
    assert (verb.num_classes, verb.feature_dim, verb.grid.fps) == (97, 2304, 30)
    assert [v.id for v in verb.train.videos] == ["P01_03"] and [v.id for v in verb.test.videos] == ["P01_12"]
    assert verb.train.truncation_threshold == 0.3
    # ActionFormer's file for nouns lacks the classes that do not occur; their ids count all the same.
    entry = {"duration": 118.9, "fps": 59.94, "annotations": [{"segment": [1, 2], "label": "tap", "label_id": 0}]}
    database = {"P01_03": entry | {"subset": "training"}, "P01_12": entry | {"subset": "validation", "duration": 173.8}}
    (root / "epic_kitchens_100_noun.json").write_text(json.dumps({"database": database}))
    assert load_dataset("epic100-noun", root).num_classes == 300


def test_ego4d_puts_extractors_in_order(tmp_path: Path) -> None:
    instance = {"segment": [1.0, 2.0], "label": "cut", "label_id": 109}
    entry = {"duration": 480.0, "fps": 1.87, "annotations": [instance]}
    database = {"c1": entry | {"subset": "train"}, "c2": entry | {"subset": "val"}, "c3": entry | {"subset": "test"}}
    (tmp_path / "ego4d.json").write_text(json.dumps({"database": database}))
    dims = {"slowfast": 2304, "omnivore": 1536, "egovlp": 256}
    for name, dim in dims.items():
        (tmp_path / f"{name}_features").mkdir()
        for key in ("c1", "c2"):
            # Extractors round the end of a clip differently.
            steps = 899 if name == "egovlp" else 900
            np.save(tmp_path / f"{name}_features" / f"{key}.npy", np.full((steps, dim), dim, np.float16))
    bundle = load_dataset("ego4d-mq", tmp_path)
    row = bundle.test[0].features[0].numpy()
    np.testing.assert_array_equal(row, np.repeat([2304, 1536, 256], [2304, 1536, 256]))
    assert len(bundle.test[0].features) == 899 and bundle.num_classes == 110
    assert (len(bundle.train), len(bundle.test)) == (1, 1)
    slowfast = load_dataset("ego4d-mq", tmp_path, features=tmp_path / "slowfast_features")
    assert slowfast.feature_dim == 2304 and slowfast.metadata["manifest"] == "ego4d-slowfast"


def test_activitynet_is_resized(tmp_path: Path) -> None:
    (tmp_path / "tsp_features").mkdir()
    database = json.loads(shared_file("data/annotations/activitynet13_19228.json").read_text())["database"]
    keys = [next(k for k, entry in database.items() if entry["subset"] == name) for name in ("training", "validation")]
    annotation_subset("activitynet13_19228.json", keys, tmp_path / "activity_net.v1-3.min.json")
    for key in keys:
        np.save(tmp_path / "tsp_features" / f"v_{key}.npy", features(int(database[key]["duration"] * 15 / 16), 512))
    bundle = load_dataset("activitynet13", tmp_path)
    sample, video = bundle.test[0], bundle.test.videos[0]
    assert sample.features.shape == (192, 512) and bundle.num_classes == 200
    stride = int(video.duration_sec * 15 / 16) * 16 / 192
    clean = clean_segments(video.segments_sec, video.labels, video.duration_sec)
    np.testing.assert_allclose(sample.segments.numpy(), clean.segments_sec * 15 / stride - 0.5, rtol=1e-5, atol=1e-5)


def test_width_that_fits_no_manifest(thumos: Path) -> None:
    for file in (thumos / "features").iterdir():
        np.save(file, np.load(file)[:, :1000])
    with pytest.raises(ValueError, match=r"width 1000, which fits none of thumos14-i3d \(2048\)"):
        load_dataset("thumos14", thumos)
    mine = FeatureManifest("mine", 1000, 4, 16)
    assert load_dataset("thumos14", thumos, manifest=mine).feature_dim == 1000
    with pytest.raises(ValueError, match="unknown feature manifest 'thumos14_i3d'"):
        load_dataset("thumos14", thumos, manifest="thumos14_i3d")


def test_places_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_dataset("thumos14", tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"looked for thumos14\.json, val_Annotation\.csv"):
        load_dataset("thumos14", tmp_path)
    (tmp_path / "thumos14.json").write_text(
        json.dumps({"database": {"a": {"subset": "Test", "duration": 3, "annotations": []}}})
    )
    with pytest.raises(FileNotFoundError, match=r"no features in .*looked for features/"):
        load_dataset("thumos14", tmp_path)


def test_wrong_annotation_file(tmp_path: Path) -> None:
    shutil.copy(shared_file("data/annotations/charades.json"), tmp_path / "multithumos.json")
    with pytest.raises(ValueError, match="unknown class"):
        load_annotations("multithumos", tmp_path, strict=True)
    many = [{"segment": [0, 1], "label": f"l{index}"} for index in range(21)]
    database = {"a": {"subset": "Test", "duration": 3, "annotations": many}}
    (tmp_path / "thumos14.json").write_text(json.dumps({"database": database}))
    with pytest.raises(ValueError, match="21 classes, but thumos14 has 20"):
        load_annotations("thumos14", tmp_path)


def test_every_benchmark_names_known_manifests() -> None:
    for benchmark in VIDEO_BENCHMARKS.values():
        for name in benchmark.manifests:
            assert all(part in MANIFESTS for part in name.split("+"))


def test_data_set_names() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'thumos'; did you mean 'thumos14'\?"):
        load_dataset("thumos")
    with pytest.raises(TypeError, match="synthetic and has no option strict"):
        load_dataset("thumos14", strict=True)


def test_twin_without_a_data_root() -> None:
    bundle = load_dataset("thumos14", synthetic_scale="smoke", seed=3, max_length=64)
    assert bundle.synthetic and bundle.name == "thumos14" and bundle.num_classes == 20
    assert (bundle.train.max_length, bundle.train.seed) == (64, 3)
    assert len(bundle.train[0].features) <= 64
