# SPDX-License-Identifier: Apache-2.0
"""One odd feature file costs its own video: it is named, nothing hangs, and no memory is taken for what it promises."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.check_data import main as check_data
from asl_fast.data.features.array_files import read_array, read_shape
from asl_fast.data.features.folder_store import FolderFeatureStore
from asl_fast.data.features.hdf5_store import Hdf5FeatureStore
from asl_fast.pack import main as pack
from tests.own_recordings import write_recordings

h5py = pytest.importorskip("h5py")
GOOD = np.ones((7, 4), np.float32)
WIDTH = 2**40


def npy(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """Make a header that promises, and four bytes."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"abcd"


def zip_of(path: Path, content: bytes, name: str = "feats.npy") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def hdf5(path: Path, write: Callable[[h5py.File], object]) -> None:
    with h5py.File(path, "w") as file:
        write(file)


def circle(file: h5py.File) -> None:
    file["features"], file["other"] = h5py.SoftLink("/other"), h5py.SoftLink("/features")


def outside(file: h5py.File) -> None:
    secret = Path(file.filename).with_suffix(".secret")
    hdf5(secret, lambda other: other.create_dataset("x", data=GOOD))
    file["features"] = h5py.ExternalLink(str(secret), "x")


def outside_by_a_link(file: h5py.File) -> None:
    outside(file)
    file.move("features", "hidden")
    file["features"] = h5py.SoftLink("/hidden")


def stored_outside(file: h5py.File) -> None:
    raw = Path(file.filename).with_suffix(".raw")
    raw.write_bytes(GOOD.tobytes())
    file.create_dataset("features", GOOD.shape, "f4", external=[(str(raw), 0, GOOD.nbytes)])


def virtual(file: h5py.File) -> None:
    secret = Path(file.filename).with_suffix(".secret")
    hdf5(secret, lambda other: other.create_dataset("x", data=GOOD))
    layout = h5py.VirtualLayout(GOOD.shape, "f4")
    layout[:] = h5py.VirtualSource(str(secret), "x", GOOD.shape)
    file.create_virtual_dataset("features", layout)


ODD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "npy of 2**70": (".npy", lambda p: p.write_bytes(npy((2**70, 4))), "truncated, .* that its header promises"),
    "npy of 2**32 squared": (".npy", lambda p: p.write_bytes(npy((2**32, 2**32))), "truncated"),
    "npy of less than nothing": (".npy", lambda p: p.write_bytes(npy((-1, -4))), r"promises the shape \(-1, -4\)"),
    "npy of text": (".npy", lambda p: p.write_bytes(npy((1,), "<U1")), "must be floating point, found <U1"),
    "npy without numbers": (".npy", lambda p: p.write_bytes(npy((2**70,), "|S0")), "must be floating point"),
    "npy of nested lists": (".npy", lambda p: p.write_bytes(npy((), "[" * 9000)), "cannot be read"),
    "npz of 30 GB": (".npz", lambda p: zip_of(p, npy((2**33, 1))), "truncated, .* of the 34359738"),
    "npz that expands": (".npz", lambda p: zip_of(p, npy((2**26, 1)) + bytes(2**28)), "would take 257 MB unpacked"),
    "npz of nothing": (".npz", lambda p: zip_of(p, b""), "cannot be read"),
    "float8": (".pt", lambda p: torch.save(torch.zeros(7, 4).to(torch.float8_e4m3fn), p), "found float8_e4m3fn"),
    "sparse": (".pt", lambda p: torch.save(torch.eye(4).to_sparse(), p), "holds a sparse_coo tensor"),
    "compressed": (".pt", lambda p: torch.save(torch.eye(4).to_sparse_csr(), p), "holds a sparse_csr tensor"),
    "expanded": (".pt", lambda p: torch.save(torch.zeros(1, 4).expand(WIDTH, 4), p), "would take .* MB unpacked"),
    "on no device": (".pt", lambda p: torch.save(torch.zeros(7, 4, device="meta"), p), "strided tensor on meta"),
    "integers": (".pt", lambda p: torch.save(torch.zeros(7, 4, dtype=torch.int64), p), "found int64"),
    "keys that are no text": (".pt", lambda p: torch.save({1: torch.zeros(7, 4)}, p), "which of its entries"),
    "dangling link": (".h5", lambda p: hdf5(p, lambda f: f.update(features=h5py.SoftLink("/no"))), "leads nowhere"),
    "looping link": (".h5", lambda p: hdf5(p, circle), "link in a circle"),
    "external link": (".h5", lambda p: hdf5(p, outside), "link into another file"),
    "link to an external one": (".h5", lambda p: hdf5(p, outside_by_a_link), "link into another file"),
    "external values": (".h5", lambda p: hdf5(p, stored_outside), "values in other files"),
    "virtual": (".h5", lambda p: hdf5(p, virtual), "values in other files"),
    "empty": (".h5", lambda p: hdf5(p, lambda f: f.update(features=h5py.Empty("f4"))), "holds no array"),
    "never written": (
        ".h5",
        lambda p: hdf5(p, lambda f: f.create_dataset("features", (WIDTH, 4), "f4", chunks=(1024, 4))),
        "would take .* MB unpacked",
    ),
    "text in HDF5": (".h5", lambda p: hdf5(p, lambda f: f.update(features="x")), "must be floating point"),
    "pipe": (".npy", os.mkfifo, "it is a pipe, not a file"),
    "device": (".npy", lambda p: p.symlink_to("/dev/zero"), "it is a device or socket, not a file"),
    "link to nothing": (".npy", lambda p: p.symlink_to("gone"), "is a link to a file that does not exist"),
    "link to itself": (".npy", lambda p: p.symlink_to(p.name), "cannot be read: Too many levels of symbolic links"),
}
each = pytest.mark.parametrize("case", ODD)


@each
def test_an_odd_file_is_named(tmp_path: Path, case: str) -> None:
    extension, write, message = ODD[case]
    path = tmp_path / f"a{extension}"
    write(path)
    for read in (read_array, read_shape):
        with pytest.raises((ValueError, OSError), match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)


@each
def test_an_odd_file_costs_its_own_video(tmp_path: Path, case: str) -> None:
    extension, write, message = ODD[case]
    write(tmp_path / f"a{extension}")
    save = {".npz": lambda p: np.savez(p, GOOD), ".pt": lambda p: torch.save(torch.from_numpy(GOOD), p)}
    save |= {".npy": lambda p: np.save(p, GOOD), ".h5": lambda p: hdf5(p, lambda f: f.update(features=GOOD))}
    save[extension](tmp_path / f"b{extension}")
    store = FolderFeatureStore(tmp_path)
    assert store.dim == 4 and store.video_ids == ("a", "b") and store.length("b") == 7
    np.testing.assert_array_equal(store.load("b"), GOOD)
    for call in (store.load, store.length):
        with pytest.raises((ValueError, OSError), match=message):
            call("a")


@pytest.mark.parametrize("case", [case for case, (extension, *_) in ODD.items() if extension == ".h5"])
def test_an_odd_entry_costs_its_own_video(tmp_path: Path, case: str) -> None:
    _, write, message = ODD[case]
    path = tmp_path / "all.h5"
    write(path)
    with h5py.File(path, "a") as file:
        file["good"] = GOOD
        file["a"] = h5py.SoftLink("/features")
    store = Hdf5FeatureStore(path)
    assert store.dim == 4 and store.length("good") == 7
    for call in (store.load, store.length):
        with pytest.raises(ValueError, match=message) as caught:
            call("a")
        assert "all.h5, entry 'a': " in str(caught.value)


def test_a_name_that_is_no_text_is_the_name_of_no_entry(tmp_path: Path) -> None:
    hdf5(tmp_path / "all.h5", lambda file: file.update({b"\x80": GOOD, "good": GOOD}))
    store = Hdf5FeatureStore(tmp_path / "all.h5")
    assert store.video_ids == ("\\x80", "good") and store.length("good") == 7
    with pytest.raises(ValueError, match=r"all.h5, entry '\\\\x80': no entry '\\\\x80', found"):
        store.load("\\x80")
    with pytest.raises(ValueError, match="which of its entries"):
        read_array(tmp_path / "all.h5")


def test_links_within_a_file_are_followed(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file["store/x"] = GOOD
        file["a"], file["group/b"] = h5py.SoftLink("/store/x"), h5py.SoftLink("../store/x")
        file["group/c"] = h5py.SoftLink("/group")

    hdf5(tmp_path / "a.h5", write)
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "a"), GOOD)
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "store/x"), GOOD)


def test_a_cap_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.zeros((2**16, 8), np.float32))
    monkeypatch.setenv("ASL_FAST_MAX_UNPACKED_MB", "1")
    with pytest.raises(ValueError, match=r"a\.npz: entry 'arr_0' would take 3 MB .* set ASL_FAST_MAX_UNPACKED_MB=3$"):
        read_array(tmp_path / "a.npz")
    monkeypatch.setenv("ASL_FAST_MAX_UNPACKED_MB", "3")
    assert read_array(tmp_path / "a.npz").shape == (2**16, 8)
    monkeypatch.setenv("ASL_FAST_MAX_UNPACKED_MB", "much")
    with pytest.raises(ValueError, match="must be a number of megabytes, found 'much'"):
        read_array(tmp_path / "a.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38, -1e38, 1e300])
def test_absurd_values_are_named(tmp_path: Path, value: float) -> None:
    values = GOOD.astype(np.float64)
    values[5, 2] = value
    np.save(tmp_path / "a.npy", values)
    hdf5(tmp_path / "all.h5", lambda file: file.update(a=values))
    for store in (FolderFeatureStore(tmp_path, extension=".npy"), Hdf5FeatureStore(tmp_path / "all.h5")):
        with pytest.raises(ValueError, match="at step 5, channel 2; extract these features again"):
            store.load("a")


def test_commands_leave_odd_files_out_or_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, features = write_recordings(tmp_path, prefix="")
    os.mkfifo(features / "clip99.npy")
    (features / "clip98.npy").symlink_to("gone")
    content = json.loads(annotations.read_text())
    for name in ("clip98", "clip99"):
        content["database"][name] = content["database"]["clip00"]
    annotations.write_text(json.dumps(content))
    words = ["--annotations", str(annotations), "--features", str(features)]
    assert check_data([*words, "--json", str(tmp_path / "report.json")]) == 1
    findings = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert {video for finding in findings for video in finding["videos"]} >= {"clip98", "clip99"}
    assert "ready to train" not in capsys.readouterr().out
    assert check_data([*words, "--strict"]) == 2
    assert pack(["--features", str(features), "--output", str(tmp_path / "packed")]) == 0
    assert "12 videos" in (out := capsys.readouterr().out) and "2 videos were left out" in out
    assert pack(["--features", str(features), "--output", str(tmp_path / "strict"), "--strict"]) == 2
    assert "clip98.npy is a link to a file that does not exist" in capsys.readouterr().err
