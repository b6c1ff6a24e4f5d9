# SPDX-License-Identifier: Apache-2.0
"""Whatever a feature file holds, it is read, or an expected error names it."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asl_fast.data.features.array_files import read_array, read_shape
from asl_fast.data.features.manifest_file import read_manifest
from asl_fast.data.features.opening import open_store
from asl_fast.data.features.packed_store import INDEX, PackedFeatureStore
from asl_fast.data.features.packing import pack_features
from asl_fast.data.features.store import InMemoryFeatureStore
from tests.data.fuzzing import bounded_memory, damaged, fuzz, json_like, mixed, read_or_named

__all__ = ["bounded_memory"]
pytestmark = pytest.mark.usefixtures("bounded_memory")

h5py = pytest.importorskip("h5py")
VALUES = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)


def bytes_of(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def write_hdf5(stream: io.BytesIO) -> None:
    with h5py.File(stream, "w") as file:
        file.create_dataset("features", data=VALUES, chunks=(4, 4), compression="gzip")
        file["other/x"], file["link"] = VALUES, h5py.SoftLink("/features")


def write_old_tensor(stream: io.BytesIO) -> None:
    torch.save(torch.from_numpy(VALUES), stream, _use_new_zipfile_serialization=False)


def matlab(name: str) -> bytes:
    """Give a file of MATLAB's version 5 with one array of floats: a header, and elements of type, size and content."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    parts = [
        element(6, struct.pack("<II", 7, 0)),  # flags: single precision
        element(5, struct.pack("<ii", *VALUES.shape)),
        element(1, name.encode()),
        element(7, VALUES.T.tobytes()),  # columns one after the other
    ]
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + element(14, b"".join(parts))


WHOLE = {
    ".mat": matlab("feats"),
    ".csv": "\n".join(",".join(map(str, row)) for row in VALUES.tolist()).encode(),
    ".tsv": b"a\tb\n1.5\t-2e3\n0,5\t7\n",
    ".npy": bytes_of(lambda stream: np.save(stream, VALUES)),
    ".npz": bytes_of(lambda stream: np.savez(stream, feats=VALUES, flow=VALUES)),
    ".NPZ": bytes_of(lambda stream: np.savez_compressed(stream, feats=VALUES)),
    ".pt": bytes_of(lambda stream: torch.save({"feats": torch.from_numpy(VALUES)}, stream)),
    ".pth": bytes_of(write_old_tensor),
    ".h5": bytes_of(write_hdf5),
    ".MAT": bytes_of(write_hdf5),  # as MATLAB writes since version 7.3
}


@pytest.mark.parametrize("extension", WHOLE)
def test_damaged_arrays(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"

    @fuzz
    @given(damaged(WHOLE[extension]))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        read_or_named(lambda: read_shape(path), path)
        read_or_named(lambda: read_array(path, "feats" if extension == ".npz" else None), path)

    check()


def test_damaged_hdf5_of_all_videos(tmp_path: Path) -> None:
    path = tmp_path / "all.h5"

    @fuzz
    @given(damaged(WHOLE[".h5"]))
    def check(content: bytes) -> None:
        path.write_bytes(content)

        def read() -> None:
            store = open_store(path)
            for name in store.names:
                read_or_named(partial(store.length, name), path)
                read_or_named(partial(store.load, name), path)

        read_or_named(read, path)

    check()


def test_drawn_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    sizes = st.integers(-1, 8) | st.sampled_from((2**31, 2**62, 2**63, 2**64, 2**70))
    kinds = st.sampled_from(("<f4", ">f8", "<f2", "|O", "<U0", "|V8", "<c8", "<M8[s]", "f4,f4", "x", "[", "(" * 300))

    @fuzz
    @given(st.lists(sizes, max_size=4), kinds, st.binary(max_size=64))
    def check(shape: list[int], descr: str, rest: bytes) -> None:
        text = repr({"descr": descr, "fortran_order": False, "shape": tuple(shape)}).encode()
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + rest)
        read_or_named(lambda: read_shape(path), path)
        read_or_named(lambda: read_array(path), path)

    check()


def test_drawn_manifests(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    good = {"name": "x", "dim": 4, "stride_frame": 4, "window_frame": 16, "fps": 30, "resize": 8, "prefix": "v_"}

    @fuzz
    @given(mixed(good, json_like(tuple(good))))
    def check(content: object) -> None:
        path.write_text(json.dumps(content))
        read_or_named(lambda: read_manifest(path, 4), path)

    check()


def test_drawn_packed_stores(tmp_path: Path) -> None:
    folder = pack_features(InMemoryFeatureStore({"a": VALUES, "b": VALUES}), ["a", "b"], tmp_path / "packed").path
    path = folder / INDEX
    good = json.loads(path.read_text()) | {"manifest": {"stride_frame": 4}, "files": {"x": [1, 2]}}

    @fuzz
    @given(mixed(good, json_like((*good, "a", "b"))))
    def check(content: object) -> None:
        path.write_text(json.dumps(content))

        def read() -> None:
            store = PackedFeatureStore(folder)
            for name in store.video_ids:
                read_or_named(partial(store.load, name), folder)

        read_or_named(read, folder)

    check()
