# SPDX-License-Identifier: Apache-2.0
"""Files of SHREC's gesture tracks as the organisers give them: ``N.txt`` per recording, one annotation file per split.

Both may lie in folders or in the zips as downloaded. A split is told by the word ``train`` or ``test`` in the path.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from asl_fast.data.annotations.problems import AnnotationError, Problems
from asl_fast.data.datasets.archive import complete_zip, damage_named
from asl_fast.files import check_unpacked, require_file

SUBSETS = ("train", "test")
_RECORDING = re.compile(r"(?:^|/)(\d{1,5})\.txt$")
_ANNOTATIONS = re.compile(r"(?:^|/)[^/]*annotation[^/]*\.txt$", re.IGNORECASE)
# Files that look like annotations and are none, or are outdated ones.
_NOT_WANTED = re.compile(r"(^|/)(\.|__MACOSX)|old|programming|as_in_copy", re.IGNORECASE)
_PREFERRED = ("fixed", "revised")
# A recording has 0.7 MB, the longest 2; more than this is another file.
LARGEST_FILE = 2**26


@dataclass(frozen=True)
class TextFile:
    """One text file, on disk or in a zip.

    Attributes:
        where: How messages name it.
        read: Its content.
    """

    where: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class TrackFiles:
    """What was found of a track: recordings by (split, number), and one annotation file per split."""

    recordings: dict[tuple[str, int], TextFile]
    annotations: dict[str, TextFile]


@dataclass(frozen=True)
class Instance:
    """One annotated gesture: its label and its first and last frame, as the file counts them."""

    label: str
    first: int
    last: int


def find_track_files(root: Path, name: str) -> TrackFiles:
    """Find recordings and annotation files below a folder, in zips too.

    Raises:
        FileNotFoundError: When the folder, the recordings or a split's annotations are not there.
        ValueError: For a damaged zip, or a recording that is there twice.
    """
    recordings: dict[tuple[str, int], TextFile] = {}
    candidates: dict[str, list[tuple[str, TextFile]]] = {subset: [] for subset in SUBSETS}
    for path, file in _text_files(root):
        if _NOT_WANTED.search(path):
            continue
        subset = _subset(path)
        if match := _RECORDING.search(path):
            if subset is None:
                continue
            key = (subset, int(match[1]))
            if key in recordings:
                raise ValueError(
                    f"{name}: {file.where} and {recordings[key].where} are both recording {key[1]} of the {subset} "
                    "split; give a data root that holds the data set once"
                )
            recordings[key] = file
        elif _ANNOTATIONS.search(path):
            # annotations_revised.txt beside annotations_revised_training.txt are those of the test split.
            candidates[subset or "test"].append((path, file))
    if not recordings:
        raise FileNotFoundError(
            f"{name}: {root} holds neither the packed form (sequences.csv) nor recordings N.txt below a folder or zip "
            "with train or test in its name; is this the right download?"
        )
    annotations = {}
    for subset, found in candidates.items():
        if not found:
            raise FileNotFoundError(f"{name}: no annotation file of the {subset} split in {root}; download it as well")
        annotations[subset] = min(found, key=lambda pair: (_preference(pair[0]), pair[0].count("/"), pair[0]))[1]
    return TrackFiles(dict(sorted(recordings.items(), key=_order)), annotations)


def _order(item: tuple[tuple[str, int], TextFile]) -> tuple[int, int]:
    (subset, number), _ = item
    return SUBSETS.index(subset), number


def _preference(path: str) -> int:
    return 0 if any(word in path.rpartition("/")[2].lower() for word in _PREFERRED) else 1


def _subset(path: str) -> str | None:
    """Find the split whose word stands last in the path, as the root itself may lie below ``tests``."""
    places = {subset: path.lower().rfind(subset) for subset in SUBSETS}
    best = max(places, key=lambda subset: places[subset])
    return best if places[best] >= 0 else None


def _text_files(root: Path) -> Iterator[tuple[str, TextFile]]:
    """Yield text files by their path below the root; those in zips below the zip's name without its ending."""
    if root.is_file():
        yield from _zipped(root, root.stem)
        return
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist; give the folder of the data set")
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).as_posix()
        if path.suffix.lower() == ".txt":
            yield inside, TextFile(str(path), lambda path=path: read_file(path))  # type: ignore[misc]
        elif path.suffix.lower() == ".zip" and path.is_file():
            yield from _zipped(path, inside.removesuffix(path.suffix))


def read_file(path: Path) -> bytes:
    """Read a text file that is no larger than a recording can be.

    Raises:
        ValueError: For one that is, and for what is no regular file.
    """
    require_file(path)
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, far more than a recording; is it the right file?")
    return path.read_bytes()


def _zipped(path: Path, prefix: str) -> Iterator[tuple[str, TextFile]]:
    archive = complete_zip(path, str(path))
    size = path.stat().st_size

    def read(entry: zipfile.ZipInfo) -> bytes:
        where = f"{path}/{entry.filename}"
        if entry.file_size > LARGEST_FILE:
            raise ValueError(f"{where} has {entry.file_size} bytes, far more than a recording; is it the right file?")
        check_unpacked(entry.file_size, min(entry.compress_size, size), where)
        with damage_named(where):
            return archive.read(entry)

    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        if entry.filename.lower().endswith(".txt"):
            where = f"{path}/{entry.filename}"
            yield f"{prefix}/{entry.filename}", TextFile(where, lambda entry=entry: read(entry))  # type: ignore[misc]


def parse_annotations(
    text: bytes, where: str, problems: Problems, name: Callable[[int], str]
) -> dict[int, list[Instance]]:
    """Parse lines ``number;LABEL;first;last;LABEL;first;last;...``.

    Args:
        text: Content of the file.
        where: How messages name it.
        problems: Collects lines that cannot be used.
        name: Id of a recording by its number.

    Raises:
        ValueError: For a file without a line, or a recording listed twice; when strict, for any bad line.
    """
    found: dict[int, list[Instance]] = {}
    for line_number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        fields = [field.strip() for field in line.strip().removesuffix(";").split(";")]
        if fields == [""]:
            continue
        place = f"{where}, line {line_number}"
        if not fields[0].isdecimal() or len(fields[0]) > 9:
            raise ValueError(f"{place}: expected number;LABEL;first;last;..., found {line[:60]!r}")
        number = int(fields[0])
        if number in found:
            raise ValueError(f"{place}: recording {number} is listed twice")
        found[number] = []
        groups = [fields[i : i + 3] for i in range(1, len(fields), 3)]
        for group in groups:
            if len(group) == 3 and group[0] and group[1].isdecimal() and group[2].isdecimal():
                found[number].append(Instance(group[0], int(group[1]), int(group[2])))
            else:
                shown = ";".join(group)[:60]
                error = AnnotationError(f"{place}: expected LABEL;first;last, found {shown!r}")
                problems.entry_of(name(number))(error)
    if not found:
        raise ValueError(f"{where}: the file is empty; download it again")
    return found
