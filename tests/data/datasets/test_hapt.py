# SPDX-License-Identifier: Apache-2.0
"""UCI HAPT: the real archive, and small damaged copies of its layout."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.datasets.hapt import (
    HaptRecordings,
    hapt_bundle,
    load_hapt,
    read_hapt,
    read_signals,
    split_users,
)
from asl_fast.data.datasets.number_tables import parse_numbers
from asl_fast.data.load import load_dataset
from tests.shared import shared_file

TEST_USERS = {2, 4, 9, 10, 12, 13, 18, 20, 24}


@pytest.fixture(scope="module")
def archive() -> Path:
    return shared_file("data/hapt/hapt_rawdata.zip")


@pytest.fixture(scope="module")
def recordings(archive: Path) -> HaptRecordings:
    return read_hapt(archive, strict=True)


@pytest.fixture(scope="module")
def bundle(archive: Path) -> DatasetBundle:
    return load_dataset("hapt", archive.parent, strict=True)


def small_copy(folder: Path) -> Path:
    """Two recordings of two users in the layout of the download."""
    for name, users in (("Train", (1, 1, 1)), ("Test", (2, 2))):
        (folder / name).mkdir(parents=True)
        (folder / name / f"subject_id_{name.lower()}.txt").write_text("\n".join(map(str, users)) + "\n")
    (folder / "activity_labels.txt").write_text("1 WALKING           \n2 SIT_TO_STAND      \n\n")
    raw = folder / "RawData"
    raw.mkdir()
    (raw / "labels.txt").write_text("1 1 1 1 50\n1 1 2 51 100\n2 2 2 11 60\n")
    rng = np.random.default_rng(0)
    for recording in ("exp01_user01", "exp02_user02"):
        for kind in ("acc", "gyro"):
            np.savetxt(raw / f"{kind}_{recording}.txt", rng.normal(size=(101, 3)))
    return folder


def test_counts_of_the_real_archive(recordings: HaptRecordings) -> None:
    annotations = recordings.annotations
    assert len(annotations.videos) == 61
    assert sum(map(len, recordings.signals.values())) == 1_122_772
    assert all(signal.shape[1] == 6 for signal in recordings.signals.values())
    assert annotations.class_names[0] == "WALKING" and annotations.class_names[11] == "LIE_TO_STAND"
    assert len(annotations.class_names) == 12
    train, test = annotations.subset("train"), annotations.subset("test")
    assert (len(train), len(test)) == (42, 19)
    assert (sum(len(v.labels) for v in train), sum(len(v.labels) for v in test)) == (849, 365)
    assert {recordings.users[v.id] for v in test} == TEST_USERS
    assert {recordings.users[v.id] for v in train} == set(range(1, 31)) - TEST_USERS


def test_user_10_has_three_recordings(recordings: HaptRecordings) -> None:
    assert [key for key, user in recordings.users.items() if user == 10] == [
        "exp19_user10",
        "exp20_user10",
        "exp21_user10",
    ]


def test_labels_count_from_one_and_include_their_end(recordings: HaptRecordings) -> None:
    video = recordings.annotations.videos["exp01_user01"]
    # First labels of the file: activity 5 from 250 to 1232, then activity 7 from 1233 to 1392.
    np.testing.assert_allclose(video.segments_sec[:2], [[249 / 50, 1232 / 50], [1232 / 50, 1392 / 50]], rtol=1e-15)
    assert video.labels[:2].tolist() == [4, 6]
    lengths = [(v.segments_sec[:, 1] - v.segments_sec[:, 0]).min() for v in recordings.annotations.videos.values()]
    # The shortest has 74 samples, both ends included.
    assert min(lengths) == pytest.approx(74 / 50, abs=1e-12)


def test_parsing_agrees_with_numpy(archive: Path, recordings: HaptRecordings) -> None:
    with zipfile.ZipFile(archive) as files, files.open("RawData/gyro_exp21_user10.txt") as file:
        expected = np.loadtxt(file)
    np.testing.assert_array_equal(recordings.signals["exp21_user10"][:, 3:], expected)
    assert len(expected) == 9898


def test_bundle(bundle: DatasetBundle, recordings: HaptRecordings) -> None:
    assert (len(bundle.train), len(bundle.test)) == (42, 19)
    assert bundle.feature_dim == 72 and not bundle.synthetic and bundle.num_classes == 12
    assert (bundle.grid.fps, bundle.grid.stride_frame, bundle.grid.origin_frame) == (50, 12, 6)
    # No instance is lost on the way to the grid, and each lies within its features.
    total = 0
    for index in range(len(bundle.test)):
        sample = bundle.test[index]
        total += len(sample.labels)
        samples = len(recordings.signals[sample.video_id])
        assert len(sample.features) == -(-samples // 12)
        assert sample.segments.min() >= -0.5 and sample.segments.max() <= len(sample.features) - 0.5
        seconds = sample.grid.to_sec(sample.segments.double().numpy())
        np.testing.assert_allclose(seconds, bundle.annotations.videos[sample.video_id].segments_sec, atol=1e-4)
    assert total == 365


def test_normalised_by_training_users_alone(bundle: DatasetBundle, recordings: HaptRecordings) -> None:
    train = np.concatenate([recordings.signals[v.id] for v in bundle.train.videos])
    assert bundle.transform is not None
    np.testing.assert_allclose(bundle.transform.mean, train.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(bundle.transform.std, train.std(axis=0), rtol=1e-10)


def test_a_feature_vector_is_twelve_samples(bundle: DatasetBundle, recordings: HaptRecordings) -> None:
    video = bundle.test.videos[0]
    signal, transform = recordings.signals[video.id], bundle.transform
    assert transform is not None
    features = bundle.test[0].features.numpy()
    normal = ((signal - transform.mean) / transform.std).astype(np.float32)
    np.testing.assert_array_equal(features.reshape(-1, 6)[: len(signal)], normal)
    np.testing.assert_array_equal(
        features.reshape(-1, 6)[len(signal) :], np.broadcast_to(normal[-1], (-len(signal) % 12, 6))
    )


def test_folds_split_training_users(recordings: HaptRecordings, bundle: DatasetBundle) -> None:
    fold = hapt_bundle(recordings, fold=1, num_folds=3, samples_per_step=25)
    users = [{v.id[-2:] for v in split.videos} for split in (fold.train, fold.test)]
    assert users[0].isdisjoint(users[1])
    assert users[0] | users[1] == {v.id[-2:] for v in bundle.train.videos}
    assert len(users[1]) == 7
    assert fold.feature_dim == 150 and fold.grid.stride_frame == 25
    assert fold.transform is not None and bundle.transform is not None
    assert not np.allclose(fold.transform.mean, bundle.transform.mean, rtol=1e-6, atol=0)
    assert {v.subset for v in fold.test.videos} == {"test"}


def test_split_users_covers_everyone_once() -> None:
    users = list(range(1, 11))
    held = [split_users(users, fold, 4)[1] for fold in range(4)]
    assert sorted(user for users_held in held for user in users_held) == users
    with pytest.raises(ValueError, match="fold must"):
        split_users(users, 4, 4)
    with pytest.raises(ValueError, match="num_folds"):
        split_users(users, 0, 11)


def test_zip_folder_and_nested_folder_are_the_same(tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "plain")
    nested = tmp_path / "nested"
    shutil.copytree(folder, nested / "HAPT Data Set")
    packed = tmp_path / "packed"
    packed.mkdir()
    shutil.make_archive(str(packed / "download"), "zip", nested)
    twice = tmp_path / "twice.zip"
    with zipfile.ZipFile(twice, "w") as outer:
        outer.write(packed / "download.zip", "HAPT.zip")
    expected = read_hapt(folder).signals
    for root in (nested, packed, packed / "download.zip", twice):
        found = read_hapt(root).signals
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_signals_without_labels(tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "new")
    for name in ("labels.txt", "acc_exp02_user02.txt", "gyro_exp02_user02.txt"):
        (folder / "RawData" / name).unlink()
    shutil.rmtree(folder / "Train")
    assert {key: signal.shape for key, signal in read_signals(folder).items()} == {"exp01_user01": (101, 6)}


def test_no_data_root() -> None:
    with pytest.raises(ValueError, match="give data_root"):
        load_dataset("hapt")


def test_missing_or_wrong_root(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_hapt(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="right download"):
        read_hapt(tmp_path)


def test_truncated_zip(archive: Path, tmp_path: Path) -> None:
    broken = tmp_path / "hapt.zip"
    broken.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"hapt\.zip.*download it again"):
        read_hapt(broken)


def test_damaged_member(tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "hapt"), "zip", small_copy(tmp_path / "plain"))
    data = bytearray((tmp_path / "hapt.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "hapt.zip") as files:
        offset = files.getinfo("RawData/acc_exp01_user01.txt").header_offset
    data[offset + 200 : offset + 300] = bytes(100)
    (tmp_path / "hapt.zip").write_bytes(data)
    with pytest.raises((ValueError, OSError), match="acc_exp01_user01"):
        read_hapt(tmp_path / "hapt.zip", strict=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("RawData/gyro_exp01_user01.txt", "1 2 3\n4 5 6\n", "has 101 samples but its gyroscope file 2"),
        ("RawData/acc_exp01_user01.txt", "1 2 3\n4 x 6\n", r"line 2: expected 3 numbers, found '4 x 6'"),
        ("RawData/acc_exp01_user01.txt", "1 2 3\n4 5", r"line 2: expected 3 numbers, found '4 5'"),
        ("RawData/acc_exp01_user01.txt", "1 2 3\n4 nan 6\n", "line 2: value is not finite"),
        ("RawData/acc_exp01_user01.txt", "", "the file is empty"),
        ("RawData/labels.txt", "1 1 3 1 50\n2 2 2 11 60\n", "activity 3 is not among the 2"),
        ("RawData/labels.txt", "1 1 1 1 102\n2 2 2 11 60\n", "label 1 to 102 does not fit a recording of 101"),
        ("RawData/labels.txt", "1 1 1 50 1\n2 2 2 11 60\n", "label 50 to 1 does not fit"),
        ("RawData/labels.txt", "1 1 1 0 9\n2 2 2 11 60\n", "label 0 to 9 does not fit"),
        ("RawData/labels.txt", "1 1 1 1 50\n3 3 2 11 60\n2 2 2 1 9\n", "exp03_user03"),
        ("Train/subject_id_train.txt", "7\n", "user 1 is in neither"),
    ],
)
def test_bad_recordings_are_named(
    tmp_path: Path, name: str, content: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_copy(tmp_path / "data")
    (folder / name).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_hapt(folder, strict=True)
    with caplog.at_level(logging.WARNING):
        kept = read_hapt(folder)
    assert "exp02_user02" in kept.annotations.videos
    assert "1 x " in caplog.text


def test_missing_partner_and_missing_files(tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "data")
    (folder / "RawData" / "gyro_exp01_user01.txt").unlink()
    with pytest.raises(FileNotFoundError, match="gyro_exp01_user01"):
        read_hapt(folder, strict=True)
    # Without its only training recording the data set cannot be trained on.
    with pytest.raises(ValueError, match="no video in subset 'train'"):
        load_hapt(folder)
    (folder / "activity_labels.txt").unlink()
    with pytest.raises(FileNotFoundError, match="activity_labels"):
        read_hapt(folder)


def test_recording_without_label_is_background(tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "data")
    (folder / "RawData" / "labels.txt").write_text("1 1 1 1 50\n")
    assert len(read_hapt(folder, strict=True).annotations.videos["exp02_user02"].labels) == 0


def test_columns() -> None:
    np.testing.assert_array_equal(parse_numbers(b"1 2\n\n3 4", 2, "x"), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(parse_numbers(b"1e-3 -2\r\n", 2, "x"), [[0.001, -2]])
    np.testing.assert_array_equal(parse_numbers(b" 5\n6\n", 1, "x"), [[5], [6]])


def test_labels_touch_without_overlap(recordings: HaptRecordings) -> None:
    touching = labelled = 0
    for video in recordings.annotations.videos.values():
        samples = np.rint(video.segments_sec * 50).astype(int)
        assert (samples[1:, 0] >= samples[:-1, 1]).all() and (samples[:, 1] > samples[:, 0]).all()
        assert samples[0, 0] >= 0 and samples[-1, 1] <= len(recordings.signals[video.id])
        touching += int((samples[1:, 0] == samples[:-1, 1]).sum())
        labelled += int((samples[:, 1] - samples[:, 0]).sum())
    assert touching == 642
    assert 1 - labelled / sum(map(len, recordings.signals.values())) == pytest.approx(0.274, abs=5e-4)


def test_recordings_that_lack_activities(recordings: HaptRecordings) -> None:
    activities = set(range(1, 13))
    lacking = {
        name: sorted(activities - set((video.labels + 1).tolist()))
        for name, video in recordings.annotations.videos.items()
        if len(np.unique(video.labels)) < 12
    }
    assert lacking == {
        "exp16_user08": [12],
        "exp20_user10": [1, 2, 3],
        "exp21_user10": [4, 5, 6, 7, 8, 9, 10, 11, 12],
        "exp45_user22": [12],
        "exp56_user28": [10, 11],
        "exp57_user28": [10, 11],
    }


def test_recordings_by_user_length_and_range(recordings: HaptRecordings) -> None:
    assert {user: count for user, count in Counter(recordings.users.values()).items() if count != 2} == {10: 3}
    lengths = {name: len(signal) for name, signal in recordings.signals.items()}
    assert (min(lengths.values()), max(lengths.values())) == (9898, 32089)
    assert min(lengths, key=lengths.__getitem__).startswith("exp21")
    assert max(lengths, key=lengths.__getitem__).startswith("exp12")
    largest = np.max([np.abs(signal).max(axis=0) for signal in recordings.signals.values()], axis=0)
    np.testing.assert_allclose(largest, [2, 2, 2, 10, 10, 10], rtol=0.02)


def test_identical_samples_are_kept(recordings: HaptRecordings) -> None:
    longest = 0
    for signal in recordings.signals.values():
        changes = np.flatnonzero((np.diff(signal[:, :3], axis=0) != 0).any(axis=1))
        longest = max(longest, int(np.diff(changes).max()) - 1)
    assert longest == 12
