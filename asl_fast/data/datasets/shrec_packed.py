# SPDX-License-Identifier: Apache-2.0
"""The packed form of SHREC's gesture tracks: all recordings in one compressed array of differences along time.

``positions_delta.npy.xz`` holds whole numbers (channels, frames of all recordings), in units of 0.1 mm;
``time_delta_us.npy.xz``, where a track has time stamps, (frames,) in microseconds;
``sequences.csv`` says in which order the recordings lie.
"""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.datasets.shrec_files import SUBSETS
from asl_fast.files import TooLarge, check_unpacked, read_csv, require_file

SEQUENCES = "sequences.csv"
_UNIT_METRES, _UNIT_SEC = 1e-4, 1e-6
_MOST = 2**40


class PackedRecording(NamedTuple):
    """Positions (N, C) in metres, and time stamps (N,) in seconds where the track has them."""

    positions: NDArray[np.float64]
    times_sec: NDArray[np.float64] | None


def read_packed(root: Path, channels: int, *, has_times: bool) -> dict[tuple[str, int], PackedRecording]:
    """Read all recordings, by split and number.

    Args:
        root: Folder of the files.
        channels: Channels of the track.
        has_times: Whether it has time stamps.

    Raises:
        FileNotFoundError: When a file is not there.
        ValueError: Naming the file, for one that is damaged or does not fit the others.
    """
    table = root / SEQUENCES
    rows = read_csv(table, ("subset", "file", "frames"))
    keys: list[tuple[str, int]] = []
    counts: list[int] = []
    for line, row in enumerate(rows, 2):
        number, frames = row["file"].removesuffix(".txt"), row["frames"]
        if row["subset"] not in SUBSETS or not (number.isdecimal() and frames.isdecimal()) or int(frames) < 1:
            raise ValueError(f"{table}, line {line}: expected subset train or test, file N.txt and frames, found {row}")
        keys.append((row["subset"], int(number)))
        counts.append(int(frames))
    if len(set(keys)) < len(keys):
        raise ValueError(f"{table}: recording {next(key for key in keys if keys.count(key) > 1)} is listed twice")
    total = sum(counts)
    positions = _load(root / "positions_delta.npy.xz", (channels, total))
    times = _load(root / "time_delta_us.npy.xz", (total,)) if has_times else None
    found, at = {}, 0
    for key, length in zip(keys, counts, strict=True):
        part = slice(at, at + length)
        where = np.cumsum(positions[:, part], axis=1, dtype=np.int64).T * _UNIT_METRES
        stamps = None if times is None else np.asarray(np.cumsum(times[part], dtype=np.int64) * _UNIT_SEC, np.float64)
        found[key] = PackedRecording(where, stamps)
        at += length
    return found


def _load(path: Path, shape: tuple[int, ...]) -> NDArray[np.signedinteger[Any]]:
    require_file(path)
    try:
        with lzma.open(path) as file:
            version = np.lib.format.read_magic(file)
            headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in headers:
                raise ValueError(f"it is a .npy file of version {version}")
            found, fortran, dtype = headers[version](file)
            if found != shape or dtype not in (np.int32, np.int64) or fortran:
                raise ValueError(f"it holds {dtype} {found}, but {SEQUENCES} asks for whole numbers {shape}")
            # What the header promises is checked before memory is taken for it.
            size = dtype.itemsize * int(np.prod(shape))
            check_unpacked(size, path.stat().st_size, str(path))
            content = file.read(size + 1)
    except TooLarge:
        raise
    except (lzma.LZMAError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); copy it again") from error
    if len(content) != size:
        raise ValueError(f"{path} holds {len(content)} bytes of {size}; copy it again")
    values: NDArray[np.signedinteger[Any]] = np.frombuffer(content, dtype).reshape(shape)
    for extreme in (values.min(), values.max()):
        # Beyond it sums of them would not fit, and no hand moves so far.
        if abs(int(extreme)) > _MOST:
            raise ValueError(f"{path} holds a difference of {extreme}; copy it again")
    return values
