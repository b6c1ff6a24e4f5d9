# SPDX-License-Identifier: Apache-2.0
"""Writes a packed store, whole or not at all, and goes on where an earlier attempt stopped."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.problems import Problems
from asl_fast.data.features.extraction import VideoFacts
from asl_fast.data.features.manifest import FeatureManifest, as_packed
from asl_fast.data.features.manifest_file import MANIFEST_NAME, write_manifest
from asl_fast.data.features.packed_store import DATA, DTYPES, FORMAT, INDEX, VERSION, PackedVideo
from asl_fast.data.features.store import FeatureStore
from asl_fast.files import remedy, write_json
from asl_fast.wording import count

JOURNAL = "journal.jsonl"
FLOAT16_MAX = 65504.0
FLOAT16_LEAST = 2.0**-14
"""Below, numbers of float16 lose digits, and below 3e-8 they are 0."""

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        path: The packed store.
        videos: How many it holds.
        resumed: How many of them an earlier attempt had written.
        num_bytes: Size of its features.
        skipped: Why videos were left out, by id.
        rounding: Largest absolute difference that float16 made to a value in this attempt; 0 for float32.
    """

    path: Path
    videos: int
    resumed: int
    num_bytes: int
    skipped: Mapping[str, str]
    rounding: float


def pack_features(
    store: FeatureStore,
    video_ids: Sequence[str],
    output: str | Path,
    *,
    dtype: str = "float32",
    manifest: FeatureManifest | None = None,
    facts: Mapping[str, VideoFacts] | None = None,
    source: str = "",
    strict: bool = False,
    progress: Progress = lambda video_id: None,
) -> Packed:
    """Write the features of the videos to ``output``, a folder that must not exist yet.

    Until all are written they lie in ``.<name>.partial`` beside it, with a line in a journal for each video that is
    complete. Called again after an interruption, it compares the checksums of those and goes on behind them.

    Args:
        store: Where the features come from.
        video_ids: What to pack, in this order.
        output: The packed store.
        dtype: ``"float32"``, which keeps every bit, or ``"float16"``, half the size.
        manifest: How the features were extracted, to be kept with them.
        facts: What extraction found out about their videos, to be kept with a manifest: rates, and what is damaged.
        source: Where they came from, in words, to be kept with them.
        strict: Stop at the first video without usable features instead of leaving it out with a counted warning.
        progress: Called with the id of each video that is in the store, also of those found there.

    Raises:
        FileExistsError: When ``output`` exists.
        OSError: When there is too little room, or another process is writing the same store.
        ValueError: Naming the video, for a value that float16 cannot hold; when no video is left, when what an earlier
            attempt left is of another data set; when strict, for any video without usable features.
    """
    output = Path(output)
    if dtype not in DTYPES:
        raise ValueError(f"a packed store can be {' or '.join(DTYPES)}, not {dtype!r}")
    if output.exists():
        raise FileExistsError(f"{output} exists already; remove it to pack again, or choose another output")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"folder {output.absolute().parent} does not exist; make it, or choose another output")
    problems = Problems("packing", strict=strict)
    lengths = _lengths(store, video_ids, problems)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": dtype,
        "dim": store.dim,
        "manifest": None if manifest is None else asdict(as_packed(manifest)),
        "source": source,
    }
    partial = output.with_name(f".{output.name}.partial")
    partial.mkdir(exist_ok=True)
    with _named_in_errors(partial), _locked(partial / JOURNAL) as journal, (partial / DATA).open("a+b") as data:
        stamps = {video_id: _stamps(store, video_id) for video_id in lengths}
        done = _take_up(journal, data, header, lengths, stamps, partial)
        for video_id in done:
            progress(video_id)
        resumed, rounding = len(done), 0.0
        row_bytes = store.dim * DTYPES[dtype].itemsize
        _check_room(sum(lengths[name] for name in lengths.keys() - done.keys()) * row_bytes, partial)
        end = sum(entry.length for entry in done.values())
        for video_id in lengths:
            if video_id in done:
                continue
            try:
                array = store.load(video_id)
            except (ValueError, OSError) as error:
                problems.skip(video_id, "video with unusable features", error)
                continue
            rows = _converted(array, dtype, video_id)
            if dtype == "float16":
                rounding = max(rounding, float(np.abs(rows.astype(np.float32) - array).max()))
            data.write(rows.data)
            data.flush()
            done[video_id] = PackedVideo(end, len(rows), zlib.crc32(rows.data))
            end += len(rows)
            journal.write(json.dumps(_line(video_id, done[video_id], stamps)) + "\n")
            journal.flush()
            progress(video_id)
        problems.summarise()
        if not done:
            raise ValueError(f"nothing to pack: none of the {count(len(video_ids), 'video')} has usable features")
        os.fsync(data.fileno())
        videos = {name: [entry.offset, entry.length, entry.crc32] for name, entry in done.items()}
        files = {path: stamp for name in done for path, *stamp in stamps[name]}
        write_json(partial / INDEX, {**header, "videos": videos, "files": files})
        if manifest is not None and (kept := {name: each for name, each in (facts or {}).items() if name in done}):
            write_manifest(partial / MANIFEST_NAME, as_packed(manifest), kept)
        partial.rename(output)
        (output / JOURNAL).unlink()
    return Packed(output, len(done), resumed, end * row_bytes, dict(problems.skipped), rounding)


Stamp = list[str | int]


def _stamps(store: FeatureStore, video_id: str) -> list[Stamp]:
    """List [file, bytes, time of the last change] of what a video's features are read from, as far as is known."""
    found: list[Stamp] = []
    for path in getattr(store, "source_files", lambda video_id: ())(video_id):
        with suppress(OSError):  # a file that is gone is said when it is read
            state = path.stat()
            found.append([str(path.absolute()), state.st_size, state.st_mtime_ns])
    return found


def _line(name: str, entry: PackedVideo, stamps: Mapping[str, list[Stamp]]) -> list[Any]:
    return [name, entry.length, entry.crc32, stamps[name]]


def _lengths(store: FeatureStore, video_ids: Sequence[str], problems: Problems) -> dict[str, int]:
    lengths = {}
    for video_id in dict.fromkeys(video_ids):
        try:
            lengths[video_id] = store.length(video_id)
        except FileNotFoundError as error:
            problems.skip(video_id, "video without features", error)
        except (ValueError, OSError) as error:
            problems.skip(video_id, "video with unusable features", error)
    return lengths


def _converted(array: NDArray[np.float32], dtype: str, video_id: str) -> NDArray[Any]:
    if dtype == "float16":
        worst = np.unravel_index(np.abs(array).argmax(), array.shape)
        if abs(array[worst]) > FLOAT16_MAX:
            step, channel = map(int, worst)
            raise ValueError(
                f"video {video_id!r}: value {array[worst]:g} at step {step}, channel {channel} is beyond float16, "
                f"which ends at {FLOAT16_MAX:g}; pack as float32"
            )
        if 0 < abs(array[worst]) < FLOAT16_LEAST:
            raise ValueError(
                f"video {video_id!r}: its largest value is {abs(array[worst]):g}, and float16 loses digits below "
                f"{FLOAT16_LEAST:.1e}; pack as float32"
            )
    return np.ascontiguousarray(array, DTYPES[dtype])


@contextmanager
def _named_in_errors(partial: Path) -> Iterator[None]:
    """Have what the system says of a write that failed name the folder, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(f"cannot write {partial}: {error.strerror}{remedy(error)}; what is written is kept") from None


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """Open the journal, to be read and continued by this process alone."""
    with path.open("a+", encoding="utf-8") as journal:
        # Where the system has no such lock, two processes at once are up to the user.
        with suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(f"another process is packing into {path.parent}; wait for it, or stop it") from None
        yield journal


def _take_up(
    journal: IO[str],
    data: IO[bytes],
    header: Mapping[str, Any],
    lengths: Mapping[str, int],
    stamps: Mapping[str, list[Stamp]],
    partial: Path,
) -> dict[str, PackedVideo]:
    """Videos that an earlier attempt wrote whole, from files that are still the same; what follows is cut off."""
    journal.seek(0)
    lines = journal.read().splitlines()
    if len(lines) > 1 and (found := _parsed(lines[0])) != header:
        names = [name for name in header if not isinstance(found, dict) or found.get(name) != header[name]]
        raise ValueError(
            f"{partial} was begun with another {' and '.join(names)}: remove it to begin again, or choose another "
            "output"
        )
    row_bytes = header["dim"] * DTYPES[header["dtype"]].itemsize
    done: dict[str, PackedVideo] = {}
    end = 0
    data.seek(0)
    for line in lines[1:]:
        entry = _parsed(line)
        if not isinstance(entry, list) or len(entry) != 4 or lengths.get(entry[0]) != entry[1]:
            break
        name, length, crc32, stamp = entry
        if stamps[name] != stamp:
            break
        rows = data.read(length * row_bytes)
        if len(rows) != length * row_bytes or zlib.crc32(rows) != crc32:
            break
        done[name] = PackedVideo(end, length, crc32)
        end += length
    data.seek(end * row_bytes)
    data.truncate()
    journal.seek(0)
    journal.truncate()
    kept = [_line(name, entry, stamps) for name, entry in done.items()]
    journal.writelines(json.dumps(line) + "\n" for line in [header, *kept])
    journal.flush()
    return done


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None  # the line that was being written when the earlier attempt was stopped


def _check_room(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{needed / 2**30:.2f} GiB more are needed, but {folder.parent} has {free / 2**30:.2f} GiB free; make "
            "room, choose another output, or pack as float16"
        )
