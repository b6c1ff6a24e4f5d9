# SPDX-License-Identifier: Apache-2.0
"""Packed stores: the bits that come back, interruptions, and every kind of damage."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from asl_fast.data.features.folder_store import FolderFeatureStore
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.opening import open_store
from asl_fast.data.features.packed_store import DATA, INDEX, PackedFeatureStore
from asl_fast.data.features.packing import JOURNAL, pack_features
from asl_fast.data.features.store import FeatureStore, InMemoryFeatureStore

MANIFEST = FeatureManifest("mine", 4, 8, 16, fps=25)
RNG = np.random.default_rng(0)
FEATURES = {f"video{index}": RNG.normal(size=(5 + index, 4)).astype(np.float32) for index in range(4)}
SOURCE = InMemoryFeatureStore(FEATURES)


class Watched:
    """The features, counting what is read, and stopping as Ctrl-C does at one video."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.dim, self.read, self.stop_at = 4, [], stop_at

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features of one video."""
        if video_id == self.stop_at:
            raise KeyboardInterrupt
        self.read.append(video_id)
        return FEATURES[video_id]

    def length(self, video_id: str) -> int:
        """Their number."""
        return len(FEATURES[video_id])

    def __contains__(self, video_id: object) -> bool:
        return video_id in FEATURES


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return pack_features(SOURCE, list(FEATURES), tmp_path / "packed", manifest=MANIFEST, source="here").path


def test_float32_gives_back_the_bits(packed: Path) -> None:
    store = PackedFeatureStore(packed)
    assert isinstance(store, FeatureStore)
    assert (store.dim, store.dtype, store.manifest, store.source) == (4, "float32", MANIFEST, "here")
    assert store.video_ids == tuple(FEATURES) and "video1" in store and "gone" not in store
    for name, expected in FEATURES.items():
        found = store.load(name)
        assert found.dtype == np.float32 and store.length(name) == len(expected)
        assert found.tobytes() == expected.tobytes()
    assert sorted(path.name for path in packed.iterdir()) == [DATA, INDEX]
    assert not (packed.parent / ".packed.partial").exists()


def test_arrays_are_views_that_cannot_be_written(packed: Path) -> None:
    found = PackedFeatureStore(packed).load("video0")
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


def test_float16_rounds_and_says_by_how_much(tmp_path: Path) -> None:
    done = pack_features(SOURCE, list(FEATURES), tmp_path / "half", dtype="float16")
    store = open_store(done.path)
    errors = []
    for name, expected in FEATURES.items():
        np.testing.assert_array_equal(store.load(name), expected.astype(np.float16).astype(np.float32))
        errors.append(np.abs(store.load(name) - expected).max())
    assert done.rounding == max(errors) > 0
    assert done.num_bytes == sum(array.size for array in FEATURES.values()) * 2 == (done.path / DATA).stat().st_size


@pytest.mark.parametrize("value", [65505.0, -7e4, 3e17])
def test_values_beyond_float16_are_refused(tmp_path: Path, value: float) -> None:
    array = np.zeros((3, 2), np.float32)
    array[1, 1] = value
    store = InMemoryFeatureStore({"small": np.full((2, 2), 65504, np.float32), "big": array})
    with pytest.raises(ValueError, match=r"video 'big': value .* at step 1, channel 1 is beyond float16.*float32"):
        pack_features(store, ["small", "big"], tmp_path / "half", dtype="float16")
    assert not (tmp_path / "half").exists()
    assert pack_features(store, ["small"], tmp_path / "fits", dtype="float16").rounding == 0


def test_interrupted_packing_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_features(Watched("video2"), list(FEATURES), tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    again, seen = Watched(), list[str]()
    done = pack_features(again, list(FEATURES), tmp_path / "packed", progress=seen.append)
    assert again.read == ["video2", "video3"] and seen == list(FEATURES)
    assert (done.videos, done.resumed) == (4, 2)
    for name, expected in FEATURES.items():
        np.testing.assert_array_equal(PackedFeatureStore(done.path).load(name), expected)


def cut_data(partial: Path) -> None:
    data = (partial / DATA).read_bytes()
    (partial / DATA).write_bytes(data[:-3])


def flip_byte(partial: Path) -> None:
    data = bytearray((partial / DATA).read_bytes())
    data[-1] ^= 1
    (partial / DATA).write_bytes(data)


def cut_line(partial: Path) -> None:
    (partial / JOURNAL).write_text((partial / JOURNAL).read_text()[:-4])


def unfinished_video(partial: Path) -> None:
    with (partial / DATA).open("ab") as file:
        file.write(b"rows of the third")


@pytest.mark.parametrize(
    ("damage", "first_read"),
    [(cut_data, "video1"), (flip_byte, "video1"), (cut_line, "video1"), (unfinished_video, "video2")],
)
def test_only_what_was_written_whole_is_taken_up(
    tmp_path: Path, damage: Callable[[Path], None], first_read: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_features(Watched("video2"), list(FEATURES), tmp_path / "packed")
    damage(tmp_path / ".packed.partial")
    again = Watched()
    store = PackedFeatureStore(pack_features(again, list(FEATURES), tmp_path / "packed").path)
    assert again.read[0] == first_read
    for name, expected in FEATURES.items():
        np.testing.assert_array_equal(store.load(name), expected)


def test_another_request_does_not_continue_the_first(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_features(Watched("video2"), list(FEATURES), tmp_path / "packed")
    with pytest.raises(ValueError, match=r"\.packed\.partial was begun with another dtype and source: remove it"):
        pack_features(SOURCE, list(FEATURES), tmp_path / "packed", dtype="float16", source="there")


def _hold(partial: Path, ready: object, done: object) -> None:
    import fcntl

    with (partial / JOURNAL).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ready.set()  # type: ignore[attr-defined]
        done.wait()  # type: ignore[attr-defined]


def test_two_processes_do_not_write_one_store(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    (tmp_path / ".packed.partial").mkdir()
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / ".packed.partial", ready, done))
    other.start()
    try:
        assert ready.wait(10)
        with pytest.raises(OSError, match="another process is packing into"):
            pack_features(SOURCE, list(FEATURES), tmp_path / "packed")
    finally:
        done.set()
        other.join()
    assert pack_features(SOURCE, list(FEATURES), tmp_path / "packed").videos == 4


def test_bad_videos_are_left_out_or_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, array in FEATURES.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "video1.npy", np.full((3, 4), np.nan, np.float32))
    (folder / "video2.npy").write_bytes((folder / "video2.npy").read_bytes()[:-1])
    store, wanted = FolderFeatureStore(folder), [*FEATURES, "gone"]
    done = pack_features(store, wanted, tmp_path / "packed")
    assert done.videos == 2 and set(done.skipped) == {"video1", "video2", "gone"}
    assert "2 x video with unusable features" in caplog.text and "1 x video without features" in caplog.text
    assert PackedFeatureStore(done.path).video_ids == ("video0", "video3")
    with pytest.raises(ValueError, match=r"video2\.npy: truncated"):
        pack_features(store, wanted, tmp_path / "strict", strict=True)
    with pytest.raises(ValueError, match="none of the 1 video has usable features"):
        pack_features(store, ["video1"], tmp_path / "none")


def test_places_that_cannot_be_written(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileExistsError, match="packed exists already; remove it"):
        pack_features(SOURCE, list(FEATURES), packed)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        pack_features(SOURCE, list(FEATURES), packed.parent / "nowhere" / "packed")
    with pytest.raises(ValueError, match="float32 or float16, not 'int8'"):
        pack_features(SOURCE, list(FEATURES), packed.parent / "other", dtype="int8")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(OSError, match=r"GiB more are needed, but .* has 0\.00 GiB free"):
        pack_features(SOURCE, list(FEATURES), packed.parent / "other")
    # Nothing was written, so that another precision can be asked for at once.
    monkeypatch.undo()
    assert pack_features(SOURCE, list(FEATURES), packed.parent / "other", dtype="float16").resumed == 0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_flipped_bit_is_found(tmp_path: Path, dtype: str) -> None:
    path = pack_features(SOURCE, list(FEATURES), tmp_path / "packed", dtype=dtype).path
    store = PackedFeatureStore(path)
    flip_byte(path)
    assert store.load("video0").shape == (5, 4)
    for call in (store.load, store.verify):
        with pytest.raises(ValueError, match=r"features\.bin, video 'video3' is damaged: its checksum is .* copy"):
            call("video3")


def test_a_truncated_store_is_refused(packed: Path) -> None:
    store = PackedFeatureStore(packed)
    size = (packed / DATA).stat().st_size
    cut_data(packed)
    with pytest.raises(ValueError, match=rf"features\.bin is truncated, {size - 3} bytes of {size}: video 'video3'"):
        PackedFeatureStore(packed)
    with pytest.raises(ValueError, match=r"features\.bin, video 'video3' cannot be read"):
        store.load("video3")
    (packed / DATA).write_bytes(bytes(size + 1))
    with pytest.raises(ValueError, match=rf"has {size + 1} bytes, packed\.json says {size}"):
        PackedFeatureStore(packed)
    (packed / DATA).unlink()
    with pytest.raises(FileNotFoundError, match=r"features\.bin is missing"):
        PackedFeatureStore(packed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not the index of a packed store"),
        ({"version": 2}, "version 2, this asl_fast reads 1; pack the data set again"),
        ({"dtype": "int8"}, "'dtype' must be float32 or float16, found 'int8'"),
        ({"dim": 0}, "'dim' must be a positive whole number, found 0"),
        ({"videos": {}}, "'videos' must list at least one video"),
        ({"videos": {"a": [0, 1]}}, r"video 'a': expected \[first row, rows, CRC-32\], found \[0, 1\]"),
        ({"videos": {"a": [0, 5, 1], "b": [7, 2, 1]}}, "video 'b': rows 7 to 9 do not follow row 5"),
    ],
)
def test_a_damaged_index_is_refused(packed: Path, change: dict[str, object], message: str) -> None:
    index = json.loads((packed / INDEX).read_text())
    (packed / INDEX).write_text(json.dumps({**index, **change}))
    with pytest.raises(ValueError, match=rf"packed\.json.*{message}"):
        PackedFeatureStore(packed)


def test_an_index_cut_short_is_refused(packed: Path) -> None:
    (packed / INDEX).write_text((packed / INDEX).read_text()[:-20])
    with pytest.raises(ValueError, match=r"packed\.json: not valid JSON"):
        PackedFeatureStore(packed)


def test_opening_and_asking(packed: Path) -> None:
    assert open_store(packed, prefix="v_", transposed=False).length("video0") == 5
    with pytest.raises(ValueError, match="is a packed store, which has no key and transposed"):
        open_store(packed, key="feats", transposed=True)
    with pytest.raises(ValueError, match="features have width 4, expected 5"):
        open_store(packed, dim=5)
    with pytest.raises(FileNotFoundError, match="'gone': it is not among the 4"):
        open_store(packed).load("gone")
    with pytest.raises(FileNotFoundError, match="'video0' is there: set prefix"):
        open_store(packed).load("ideo0")


def test_names_with_a_prefix(packed: Path) -> None:
    store = open_store(packed, prefix="video")
    assert (store.names[0], store.video_ids[0], store.length("0")) == ("video0", "0", 5)
    np.testing.assert_array_equal(store.load("2"), FEATURES["video2"])


def test_other_processes_read_it(packed: Path) -> None:
    store = pickle.loads(pickle.dumps(PackedFeatureStore(packed)))
    np.testing.assert_array_equal(store.load("video2"), FEATURES["video2"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest": 7}, r"packed\.json, 'manifest': expected .* found 7"),
        ({"manifest": {"stride": 4}}, r"packed\.json, 'manifest': unknown key 'stride'"),
        ({"manifest": {"dim": 4}}, r"packed\.json, 'manifest': no 'stride_frame'"),
        ({"manifest": {"stride_frame": "x"}}, r"'manifest', 'stride_frame': expected a number, found 'x'"),
        ({"manifest": {"stride_frame": -4}}, r"'manifest': .*stride_frame must be positive"),
        ({"manifest": {"stride_frame": 4, "dim": 5}}, r"'manifest' has width 5, but 'dim' is 4"),
        ({"source": 3}, "'source' must be text, found 3"),
        ({"files": [1]}, r"'files' must be .* found \[1\]"),
        ({"files": {"a": [1, "x"]}}, "'files' must be"),
    ],
)
def test_an_edited_index_is_named(packed: Path, change: dict[str, object], message: str) -> None:
    index = json.loads((packed / INDEX).read_text())
    (packed / INDEX).write_text(json.dumps(index | change))
    with pytest.raises(ValueError, match=message):
        PackedFeatureStore(packed)


def test_a_changed_source_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    for name, array in FEATURES.items():
        np.save(folder / f"{name}.npy", array)
    source = FolderFeatureStore(folder)
    path = pack_features(source, source.video_ids, tmp_path / "packed").path
    assert PackedFeatureStore(path).changed_sources == () and not caplog.text
    np.save(folder / "video2.npy", FEATURES["video2"] + 1)
    assert PackedFeatureStore(path).changed_sources == (str(folder / "video2.npy"),)
    assert f"1 of the 4 files that were packed have changed since, such as {folder / 'video2.npy'}" in caplog.text
    for file in folder.iterdir():
        file.unlink()
    assert PackedFeatureStore(path).changed_sources == ()


def test_packing_does_not_go_on_with_other_features(tmp_path: Path) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    for name, array in FEATURES.items():
        np.save(folder / f"{name}.npy", array)
    source = FolderFeatureStore(folder)

    def stop(video_id: str) -> None:
        if video_id == "video2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_features(source, source.video_ids, tmp_path / "packed", progress=stop)
    np.save(folder / "video1.npy", FEATURES["video1"] + 1)
    packed = pack_features(source, source.video_ids, tmp_path / "packed")
    assert packed.resumed == 1
    np.testing.assert_array_equal(PackedFeatureStore(packed.path).load("video1"), FEATURES["video1"] + 1)
