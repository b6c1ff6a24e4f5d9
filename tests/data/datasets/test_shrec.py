# SPDX-License-Identifier: Apache-2.0
"""SHREC'21 and SHREC'22: the packed form, original files rebuilt from it, and damaged ones."""

from __future__ import annotations

import csv
import io
import json
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.datasets.shrec import SHREC21, SHREC22, Track, parse_frames, read_track, read_track_signals
from asl_fast.data.datasets.shrec_packed import read_packed
from asl_fast.data.load import load_dataset, open_source
from asl_fast.data.signals.recordings import SignalRecordings, SignalSettings, signal_bundle
from tests.shared import shared_file

TRACKS = {track.name: track for track in (SHREC22, SHREC21)}
LINES = {"shrec22": ("1;ONE;1;2;OK;4;5;\n", "1;WAVE;0;3;\n2;TWO;2;4;V;5;5"), "shrec21": ("1;TAP;1;6; \n", "3;V;2;9;")}


@pytest.fixture(scope="module", params=TRACKS)
def track(request: pytest.FixtureRequest) -> Track:
    return TRACKS[request.param]


@pytest.fixture(scope="module")
def root(track: Track) -> Path:
    return shared_file(f"data/{track.name}/sequences.csv").parent


@pytest.fixture(scope="module")
def recordings(track: Track, root: Path) -> SignalRecordings:
    return read_track(track, root)


def text_of(track: Track, positions: np.ndarray, times: np.ndarray | None, *, leading: int = 0) -> str:
    """Write a recording as the organisers do; rotations, which nobody reads, are made up."""
    lines = []
    for number, frame in enumerate(positions):
        if times is not None:
            values = [str(number), f"{times[number]:.6f}", *(f"{value:.4f}" for value in frame)]
        else:
            poses = np.concatenate([frame.reshape(-1, 3), np.full((track.joints, 4), 0.5)], axis=1).ravel()
            values = [f"{value:.4f}" for value in (*np.zeros(leading), *poses)]
        lines.append(";".join(values) + (";" if times is not None else ""))
    return "\n".join(lines) + "\n"


def small(track: Track, folder: Path) -> Path:
    """Three short recordings in the layout of the download."""
    generator, (train, test) = np.random.default_rng(0), LINES[track.name]
    numbers = {"training_set": (1,), "test_set": (1, 2) if track.has_times else (3,)}
    for name, line in (("training_set", train), ("test_set", test)):
        (folder / name / "sequences").mkdir(parents=True)
        (folder / name / "annotations.txt").write_text(line)
        (folder / name / "train_acquisition_programming.txt").write_text("1;0.5;ONE;\n")
        for number in numbers[name]:
            times = 0.01 + np.arange(8) * 0.05 if track.has_times else None
            text = text_of(track, generator.normal(0, 0.1, (8, 3 * track.joints)), times)
            (folder / name / "sequences" / f"{number}.txt").write_text(text)
    return folder


def test_counts_are_those_of_the_organisers(track: Track, recordings: SignalRecordings) -> None:
    expected = {"shrec22": ((144, 576), (144, 576)), "shrec21": ((108, 408), (72, 270))}[track.name]
    for subset, (videos, instances) in zip(("train", "test"), expected, strict=True):
        found = recordings.annotations.subset(subset)
        assert (len(found), sum(len(video.labels) for video in found)) == (videos, instances)
        per_class = np.bincount(np.concatenate([video.labels for video in found]), minlength=len(track.classes))
        if track is SHREC22:
            assert (per_class == 36).all()
    assert all(signal.shape[1] == 3 * track.joints for signal in recordings.signals.values())
    assert not recordings.annotations.skipped


def test_times_are_those_of_an_independent_reading(track: Track, root: Path, recordings: SignalRecordings) -> None:
    database = json.loads((root / "annotations.json").read_text())["database"]
    assert database.keys() == recordings.annotations.videos.keys()
    for key, video in recordings.annotations.videos.items():
        given = database[key]
        assert [track.classes[label] for label in video.labels] == [each["label"] for each in given["annotations"]]
        segments = np.array([each["segment"] for each in given["annotations"]])
        # Written there to a tenth of a millisecond.
        np.testing.assert_allclose(video.segments_sec, segments, atol=1e-4)
        assert video.duration_sec == pytest.approx(given["duration"], abs=1e-4)
        assert abs(len(recordings.signals[key]) / recordings.rate_hz - video.duration_sec) <= 0.5 / recordings.rate_hz


def test_frames_and_seconds_go_into_each_other(recordings: SignalRecordings) -> None:
    for video in recordings.annotations.videos.values():
        first_frame = video.extra["first_frame"]
        borders = video.extra["frame_borders_sec"]
        for (first, last), (start, end) in zip(video.extra["frames"], video.segments_sec, strict=True):
            assert borders[first - first_frame] == pytest.approx(start)
            assert end == pytest.approx(borders[min(last - first_frame + 1, len(borders) - 1)])


def test_original_files_give_the_same_in_folders_and_zips(track: Track, root: Path, tmp_path: Path) -> None:
    packed = read_packed(root, 3 * track.joints, has_times=track.has_times)
    expected = read_track(track, root)
    chosen = [("train", 1), ("train", 2), ("test", 110)]
    names = {"train": "train_annotations.txt", "test": "test_annotations_fixed.txt"}
    if track is SHREC21:
        names = {"train": "annotations_revised_training.txt", "test": "annotations_revised.txt"}
    for subset, name in names.items():
        lines = (root / name).read_text().splitlines(keepends=True)
        kept = [line for line in lines if (subset, int(line.split(";")[0])) in chosen]
        # The annotations of the first edition lie beside them.
        (tmp_path / name).write_text("".join(kept))
        (tmp_path / "annotations_training_old.txt").write_text("1;ONE;1;2;\n")
    with zipfile.ZipFile(tmp_path / "test_set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for subset, number in chosen:
            text = text_of(track, *packed[subset, number], leading=7 if track is SHREC21 and number == 2 else 0)
            if subset == "test":
                archive.writestr(f"sequences/{number}.txt", text)
            else:
                (tmp_path / "training_set").mkdir(exist_ok=True)
                (tmp_path / "training_set" / f"{number}.txt").write_text(text)
    found = read_track(track, tmp_path, strict=True)
    assert list(found.signals) == [track.video_id(subset, number) for subset, number in chosen]
    for key, signal in found.signals.items():
        np.testing.assert_allclose(signal, expected.signals[key], atol=1e-4)
        video, other = found.annotations.videos[key], expected.annotations.videos[key]
        np.testing.assert_allclose(video.segments_sec, other.segments_sec, atol=1e-5)
        assert video.extra["frames"] == other.extra["frames"]


def test_typing_errors_are_corrected_and_ends_are_cut() -> None:
    shared_file("data/shrec21/sequences.csv")
    videos = read_track(SHREC21, shared_file("data/shrec21/sequences.csv").parent).annotations.videos
    assert (1135, 1162) in videos["064"].extra["frames"] and (495, 528) in videos["155"].extra["frames"]
    for number in ("136", "142", "145", "151"):
        assert videos[number].segments_sec.max() == videos[number].duration_sec
        assert max(last for _, last in videos[number].extra["frames"]) > round(videos[number].duration_sec * 50)


def test_another_rate(track: Track, tmp_path: Path) -> None:
    found = read_track(track, small(track, tmp_path), signal_rate_hz=200.0)
    signal, video = next(iter(found.signals.values())), next(iter(found.annotations.videos.values()))
    assert found.rate_hz == video.fps == 200.0
    assert len(signal) == round(video.duration_sec * 200)


def test_bundle_and_folds(track: Track, root: Path, recordings: SignalRecordings) -> None:
    bundle = load_dataset(track.name, root, centre="joint", velocities=True, samples_per_step=2, fold=1, num_folds=3)
    assert bundle.feature_dim == 2 * 2 * 3 * track.joints
    assert bundle.transform is not None and bundle.transform.preparation is not None
    assert bundle.test.store.load(bundle.test.videos[0].id).std() < 3
    held = [signal_bundle(recordings, SignalSettings(fold=fold, num_folds=3)).test.videos for fold in range(3)]
    assert [video.id for video in held[1]] == [video.id for video in bundle.test.videos]
    assert not {video.id for video in bundle.train.videos} & {video.id for video in bundle.test.videos}
    assert len(bundle.train) + len(bundle.test) == (144 if track is SHREC22 else 108)
    assert len({video.id for part in held for video in part}) == sum(map(len, held)) == len(bundle.annotations.videos)


def test_source(track: Track, root: Path) -> None:
    source = open_source(track.name, root)
    assert len(source.train) + len(source.test) == (288 if track is SHREC22 else 180)


def test_small_layout_is_read_whole(track: Track, tmp_path: Path) -> None:
    found = read_track(track, small(track, tmp_path), strict=True)
    assert len(found.signals) == (3 if track.has_times else 2)
    first = next(iter(found.annotations.videos.values()))
    if track.has_times:
        np.testing.assert_allclose(first.segments_sec, [[0.05, 0.15], [0.2, 0.3]], atol=1e-9)
    else:
        np.testing.assert_allclose(first.segments_sec, [[0.0, 0.12]], atol=1e-9)


def test_recordings_alone(track: Track, tmp_path: Path) -> None:
    root = small(track, tmp_path)
    whole = read_track(track, root).signals
    assert read_track_signals(track, root).keys() == whole.keys()
    alone = read_track_signals(track, root / "training_set" / "sequences")
    assert list(alone) == ["1"]
    np.testing.assert_array_equal(alone["1"], whole[track.video_id("train", 1)])
    (root / "training_set" / "sequences" / "2.txt").write_text("no numbers\n")
    with pytest.raises(ValueError, match=r"2\.txt, line 1: expected"):
        read_track_signals(track, root / "training_set" / "sequences")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1;0.1;" + "0.5;" * 77, "expected 80 numbers, found '1;0.1;0.5"),
        ("1;0.1;" + "0.5;" * 77 + "x;", "line 2: expected 80 numbers"),
        ("1;0.1;" + "0.5;" * 76 + ";0.5;", "line 2: expected 80 numbers"),
        ("1;0.1;" + "0.5;" * 77 + "nan;", "line 2: value is not finite"),
        ("2;0.1;" + "0.5;" * 78, "line 2: expected frame 1, found 2"),
    ],
)
def test_bad_lines_of_recordings(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_frames(SHREC22, f"0;0.05;{'0.5;' * 78}\n{line}\n".encode(), "r.txt")
    with pytest.raises(ValueError, match=r"r\.txt: the file is empty"):
        parse_frames(SHREC22, b"\n", "r.txt")
    with pytest.raises(ValueError, match="expected 140 or 147 numbers"):
        parse_frames(SHREC21, b"1;2;3\n", "r.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1;ONE;1;2;ONE;4", "line 1: expected LABEL;first;last, found 'ONE;4'"),
        ("1;EINS;1;2;", "EINS from frame 1 to 2 does not fit.*the labels are ONE"),
        ("1;ONE;5;2;", "ONE from frame 5 to 2 does not fit a recording of 8 frames"),
        ("1;ONE;-1;2;", "expected LABEL;first;last"),
        ("one;ONE;1;2;", "expected number;LABEL;first;last"),
        ("1;ONE;1;2;\n1;TWO;1;2;", "line 2: recording 1 is listed twice"),
        ("", "the file is empty"),
        ("1;ONE;1;2;\n9;ONE;1;2;", "no file of train_009"),
        ("9;ONE;1;2;", "is in no annotation file"),
    ],
)
def test_bad_annotations(tmp_path: Path, content: str, message: str) -> None:
    small(SHREC22, tmp_path)
    (tmp_path / "training_set" / "annotations.txt").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_track(SHREC22, tmp_path, strict=True)


def test_what_can_be_used_is_used(tmp_path: Path) -> None:
    small(SHREC22, tmp_path)
    (tmp_path / "training_set" / "annotations.txt").write_text("1;ONE;1;2;ONE;7;9;TWO;5;2;")
    (tmp_path / "test_set" / "sequences" / "2.txt").write_text("0;0.1;7\n")
    found = read_track(SHREC22, tmp_path)
    # The second ends behind the recording and is cut there.
    np.testing.assert_allclose(found.annotations.videos["train_001"].segments_sec, [[0.05, 0.15], [0.35, 0.4]])
    assert found.annotations.left_out == {"train_001": 1}
    assert found.annotations.skipped == {"test_002": "unreadable recording"}


def test_missing_and_doubled_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_track(SHREC22, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds neither the packed form"):
        read_track(SHREC22, tmp_path)
    small(SHREC22, tmp_path)
    copy = tmp_path / "training_set" / "1.txt"
    copy.write_text("")
    with pytest.raises(ValueError, match="are both recording 1 of the train split"):
        read_track(SHREC22, tmp_path)
    copy.unlink()
    (tmp_path / "test_set" / "annotations.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no annotation file of the test split"):
        read_track(SHREC22, tmp_path)
    (tmp_path / "test_set.zip").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(ValueError, match="not a complete zip file"):
        read_track(SHREC22, tmp_path)


def packed(folder: Path, *, frames: str = "4", positions: np.ndarray | None = None) -> Path:
    """One recording in the packed form."""
    with (folder / "sequences.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "subset", "file", "frames"], ["train_001", "train", "1.txt", frames]])
    arrays = {"positions_delta": np.zeros((78, 4), np.int32), "time_delta_us": np.full(4, 50_000, np.int32)}
    arrays["positions_delta"] = arrays["positions_delta"] if positions is None else positions
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        (folder / f"{name}.npy.xz").write_bytes(lzma.compress(buffer.getvalue()))
    (folder / "train_annotations.txt").write_text("1;ONE;1;2;\n")
    (folder / "test_annotations_fixed.txt").write_text("1;ONE;1;2;\n")
    return folder


def test_packed_form_that_does_not_fit(tmp_path: Path) -> None:
    assert len(read_track(SHREC22, packed(tmp_path)).signals["train_001"]) == 4
    with pytest.raises(ValueError, match=r"holds int32 \(78, 4\), but sequences.csv asks for whole numbers \(78, 5\)"):
        read_track(SHREC22, packed(tmp_path, frames="5"))
    with pytest.raises(ValueError, match="line 2: expected subset train or test"):
        read_track(SHREC22, packed(tmp_path, frames="none"))
    with pytest.raises(ValueError, match="holds float64"):
        read_track(SHREC22, packed(tmp_path, positions=np.zeros((78, 4))))
    far = np.zeros((78, 4), np.int64)
    far[3, 2] = np.iinfo(np.int64).min
    with pytest.raises(ValueError, match=r"positions_delta.npy.xz holds a difference of -9223372036854775808"):
        read_track(SHREC22, packed(tmp_path, positions=far))
    packed(tmp_path)
    file = tmp_path / "positions_delta.npy.xz"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match="cannot be read"):
        read_track(SHREC22, tmp_path)
    packed(tmp_path)
    (tmp_path / "time_delta_us.npy.xz").unlink()
    with pytest.raises(FileNotFoundError, match="time_delta_us"):
        read_track(SHREC22, tmp_path)
    packed(tmp_path)
    (tmp_path / "test_annotations_fixed.txt").unlink()
    with pytest.raises(FileNotFoundError, match="test_annotations_fixed"):
        read_track(SHREC22, tmp_path)
