# SPDX-License-Identifier: Apache-2.0
"""What is derived from lengths: levels, maximum length, batch; and what of it reaches the data set that is loaded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.custom.data import OwnData
from asl_fast.data.custom.decision import Decision
from asl_fast.data.custom.split import SplitRule
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.source import DataSource
from asl_fast.training.config import DataConfig, TrainConfig
from asl_fast.training.data import load
from asl_fast.training.explanation import explain
from asl_fast.training.own_preset import own_data_name, own_preset, partners_in_batch
from tests.data.helpers import video
from tests.data.layouts import DIM, thumos_folder
from tests.shared import shared_file

ASKED = TrainConfig(dataset="mine", annotations="mine.json", features=("features",))


def own(steps: Sequence[int], lengths: Sequence[float], *, classes: int = 2, used: int = 2) -> OwnData:
    """Videos of so many steps of one second, every one with instances of the given lengths."""
    videos: dict[str, Video] = {}
    for index, number in enumerate(steps):
        fitting = [length for length in lengths if length <= number]
        segments = [[0.0, length] for length in fitting]
        labels = [k % used for k in range(len(fitting))]
        videos[f"v{index}"] = video(f"v{index}", segments, labels, duration_sec=float(number))
    read = Annotations("mine", tuple(f"class {k}" for k in range(classes)), videos)
    store = InMemoryFeatureStore({key: np.zeros((int(v.duration_sec), 4), np.float32) for key, v in videos.items()})
    layout = FeatureManifest("mine", 4, 1, fps=1)
    train, path = tuple(videos.values()), Path("mine.json")
    source = DataSource("mine", read, train, train[:1], store, layout, path, (Path("features"),))
    return OwnData(source, SplitRule("train", "test"), {key: store.length(key) for key in videos}, ())


def decided(decisions: Sequence[Decision], what: str) -> str:
    (found,) = (str(decision) for decision in decisions if decision.what == what)
    return found


@pytest.mark.parametrize(
    ("lengths", "num_levels", "first_level"),
    [
        ([1.0, 2.0, 3.0], 2, 0),  # the least that is a pyramid
        ([1.0, 12.0], 2, 0),
        ([1.0, 17.0], 3, 0),
        ([1.0, 40.0], 4, 0),
        ([1.0, 130.0], 6, 0),
        ([9.0, 130.0], 6, 1),  # nothing for level 0
        ([20.0, 130.0], 6, 2),
        ([100.0, 130.0], 6, 2),  # no more than two levels without heads
        ([1.0, 4000.0], 8, 0),
    ],
)
def test_levels_follow_the_lengths(lengths: list[float], num_levels: int, first_level: int) -> None:
    data = own([4000, 3000], lengths)
    config, decisions = own_preset(data, ASKED)
    assert (config.model.num_levels, config.model.first_level) == (num_levels, first_level)
    replace(config.model, feature_dim=4, num_classes=2).validate()
    lines = explain(data, config, config, decisions)
    # The histogram: the shortest in the first row, the longest in the last.
    rows = [line.split() for line in lines if line.split()[0].isdigit()]
    assert len(rows) == num_levels - first_level
    if num_levels > 2:
        assert rows[-1][-1].startswith("█")
    if min(lengths) < 100:
        assert rows[0][-1].startswith("█")


def test_an_option_is_told_from_what_was_derived() -> None:
    data = own([90, 100], [1.0, 40.0])
    derived, decisions = own_preset(data, ASKED)
    model = replace(derived.model, regression_ranges=((0.0, 4.0), (3.0, 9.0), (9.0, 20.0), (20.0, 10_000.0)))
    config = replace(derived, epochs=3, batch_size=7, model=model)
    told = {line[2:18].rstrip(): line[20:] for line in explain(data, derived, config, decisions)[1:]}
    assert told["epochs"].startswith("3 as asked for, not 200: 3200 steps are wanted")
    assert told["batch"].startswith("7 as asked for, not 2 videos: ")
    assert told["regression"].startswith(
        "ranges 0-4, 3-9, 9-20, 20-unbounded as asked for, not ranges 0-4-8-16-unbounded"
    )
    assert told["maximum length"].startswith("104 grid steps")


def test_maximum_length_is_the_longest_video() -> None:
    config, decisions = own_preset(own([90, 100, 101], [1.0, 40.0]), ASKED)
    assert config.data.max_length == config.model.max_length_grid == 104
    assert "the longest training video, rounded up to a multiple of 8" in decided(decisions, "maximum length")


def test_one_long_video_among_many_is_cropped() -> None:
    config, decisions = own_preset(own([*range(80, 120), 1000], [1.0, 40.0]), ASKED)
    assert config.data.max_length == 120
    assert "1 of 41 videos longer and cut at random" in decided(decisions, "maximum length")


def test_but_not_its_long_instances() -> None:
    config, _ = own_preset(own([*[100] * 40, 300], [90.0, 280.0, 281.0]), ASKED)
    assert config.data.max_length >= 280


def test_no_more_than_published() -> None:
    config, decisions = own_preset(own([5000, 5000, 5000], [1.0, 40.0]), ASKED)
    assert config.data.max_length == 2304
    assert "3 of 3 videos longer" in decided(decisions, "maximum length")


def test_batches_grow_with_the_data_set() -> None:
    assert own_preset(own([100] * 3, [1.0, 40.0]), ASKED)[0].batch_size == 2
    assert own_preset(own([100] * 400, [1.0, 40.0]), ASKED)[0].batch_size == 8
    assert own_preset(own([2000] * 400, [1.0, 40.0]), ASKED)[0].batch_size == 2
    config, decisions = own_preset(own([100] * 400, [1.0, 40.0]), ASKED, "smoke")
    assert config.batch_size == 4
    assert "4 videos: up to 16" in decided(decisions, "batch") and "no more in preset 'smoke'" in str(decisions[-1])


@pytest.mark.parametrize(
    ("videos", "size", "epochs", "every"),
    [
        (220, "full", 30, 5),  # 110 batches, 3,300 steps: as published
        (200, "full", 32, 5),
        (72, "full", 89, 14),
        (72, "reduced", 89, 0),
        (3, "full", 200, 33),
        (3, "smoke", 14, 0),
    ],
)
def test_few_videos_are_seen_more_often(videos: int, size: str, epochs: int, every: int) -> None:
    config, decisions = own_preset(own([2000] * videos, [1.0, 40.0]), ASKED, size)
    assert (config.epochs, config.evaluation.every) == (epochs, every)
    reasons = [str(decision) for decision in decisions if decision.what == "epochs"]
    assert len(reasons) == (epochs not in (30, 14))
    assert all(("no more than 200" in reason) == (epochs == 200) for reason in reasons)


def test_given_weights_are_not_trained_longer() -> None:
    config, decisions = own_preset(own([2000] * 3, [1.0, 40.0]), replace(ASKED, init_from="epoch_034.pth.tar"))
    assert config.epochs == 30
    assert not [decision for decision in decisions if decision.what == "epochs"]


def test_classes_without_training_instances_start_low() -> None:
    config, decisions = own_preset(own([100] * 3, [1.0, 40.0], classes=4, used=2), ASKED)
    assert config.model.rare_classes == (2, 3)
    assert "2 classes (class 2, class 3)" in decided(decisions, "rare classes")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), max_size=4), min_size=1, max_size=4).filter(any), st.integers(1, 4))
def test_partners_are_counted_over_all_batches(labels: list[list[int]], batch_size: int) -> None:
    batch_size = min(batch_size, len(labels))
    videos = [video(f"v{k}", [[0.0, 1.0]] * len(held), held, duration_sec=9.0) for k, held in enumerate(labels)]
    met = total = 0
    for batch in itertools.combinations(labels, batch_size):
        together = [label for held in batch for label in held]
        met += sum(together.count(label) - 1 for label in together)
        total += len(together)
    assert partners_in_batch(videos, batch_size) == pytest.approx(met / total)


def test_few_of_a_class_are_contrasted_with_earlier_batches() -> None:
    few = own([100] * 40, [1.0, 40.0], classes=20)
    for index, each in enumerate(few.source.train):
        each.labels[:] = index % 20, (index + 1) % 20
    config, decisions = own_preset(few, ASKED)
    assert "meets 0.077 others of its class" in decided(decisions, "contrast")  # 3 of 39 other videos hold one
    assert (config.loss.contrastive_memory, config.loss.contrastive_levels) == (512, "assigned")
    many, decisions = own_preset(own([100] * 3, [1.0, 40.0, 41.0, 42.0]), ASKED)
    assert many.loss.contrastive_memory == 0 and "contrast" not in {decision.what for decision in decisions}
    for variant in ("plain", "asl-paper"):
        config, decisions = own_preset(few, ASKED, variant=variant)
        assert "contrast" not in {decision.what for decision in decisions}
        assert variant == "plain" or config.loss.contrastive_memory == 0


def test_variant_and_size() -> None:
    one = own([100] * 3, [1.0, 40.0], classes=1, used=1)
    assert not own_preset(one, ASKED)[0].loss.contrastive
    assert own_preset(one, ASKED, variant="asl")[0].loss.contrastive
    config = own_preset(own([100] * 3, [1.0, 40.0]), ASKED, "reduced", "plain")[0]
    assert (config.model.width, config.loss.class_level, config.loss.contrastive) == (128, False, False)
    with pytest.raises(ValueError, match="unknown preset 'smok'; did you mean 'smoke'"):
        own_preset(one, ASKED, "smok")


def test_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="none of the 2 training videos has an instance inside the video"):
        own_preset(own([100, 100], []), ASKED)


def test_names_are_told_apart_from_benchmarks() -> None:
    assert own_data_name("data/mine.v2.json.gz", ("thumos14",)) == "mine"
    assert own_data_name("thumos14.json", ("thumos14",)) == "own-thumos14"


def test_a_benchmark_with_its_files_elsewhere(tmp_path: Path) -> None:
    root = thumos_folder(tmp_path / "data", videos=3)
    (root / "annotations" / "thumos14.json").rename(tmp_path / "other.json")
    (root / "features").rename(tmp_path / "elsewhere")
    layout = FeatureManifest("wide", DIM, 4, 24)
    config = TrainConfig(
        dataset="thumos14",
        data_root=str(root),
        annotations=str(tmp_path / "other.json"),
        features=(str(tmp_path / "elsewhere"),),
        data=DataConfig(manifest=layout),
    )
    assert not config.is_own_data
    bundle = load(config)
    assert (len(bundle.train), bundle.grid.window_frame, bundle.metadata["manifest"]) == (3, 24, "wide")
    with pytest.raises(
        ValueError, match=r"annotations, features, manifest of benchmark 'thumos14' need its --data-root"
    ):
        load(replace(config, data_root=None))


def test_hapt_has_no_other_features() -> None:
    config = TrainConfig(dataset="hapt", data_root=str(shared_file("data/hapt")), features=("x",))
    with pytest.raises(ValueError, match="hapt is read from the download as it is and has no option features"):
        load(config)
