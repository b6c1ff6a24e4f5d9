# SPDX-License-Identifier: Apache-2.0
"""Reading a data set in place, from its zip as downloaded or from a folder."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from asl_fast.files import TooLarge, check_unpacked

# A zip inside the download is how some data sets come; deeper than that nothing is, but zips that contain themselves.
_DEEPEST = 1


def complete_zip(file: Path | io.BytesIO, origin: str) -> zipfile.ZipFile:
    """Open a zip.

    Raises:
        ValueError: Naming ``origin``, for what is no zip or only a part of one.
    """
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, EOFError, ValueError, OSError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{origin} is not a complete zip file ({error}); download it again") from error


@contextlib.contextmanager
def damage_named(where: str) -> Iterator[None]:
    """Turn what a damaged entry of a zip makes its reader raise into a ValueError that names the entry."""
    try:
        yield
    except TooLarge:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{where} is damaged ({error}); download the archive again") from error


@dataclass(frozen=True, eq=False)
class Archive:
    """Files below one folder of a zip or of the disk, by their path relative to that folder."""

    origin: str
    names: tuple[str, ...]
    _read: Callable[[str], bytes]

    def where(self, name: str) -> str:
        """How messages name a file."""
        return f"{self.origin}/{name}"

    def read(self, name: str) -> bytes:
        """Contents of a file.

        Raises:
            FileNotFoundError: When it is not there.
            ValueError: When the archive is damaged, or holds far more than is stored of it (see `check_unpacked`).
        """
        if name not in self.names:
            raise FileNotFoundError(f"{self.where(name)} is missing; download and unpack the data set again")
        with damage_named(self.where(name)):
            return self._read(name)


def open_archive(path: str | Path, wanted: re.Pattern[str]) -> Archive:
    """Find the folder that holds the data set in a zip, in a folder, or in a zip inside either.

    Args:
        path: Zip file or folder.
        wanted: Matches the path of a file that the data set is known by; its folder's parent becomes the root.

    Raises:
        FileNotFoundError: When the path does not exist or holds no such file.
        ValueError: When the zip is damaged; when zips lie in zips in zips.
    """
    path = Path(path)
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        found = _rooted(str(path), names, lambda name: (path / name).read_bytes(), wanted)
        zips = (path / name for name in sorted(names) if name.lower().endswith(".zip"))
        candidates = [found] if found else [_open_zip(file, str(file), wanted) for file in zips]
    elif path.is_file():
        candidates = [_open_zip(path, str(path), wanted)]
    else:
        raise FileNotFoundError(f"{path} does not exist; give the downloaded zip or the folder it was unpacked to")
    archive = next((candidate for candidate in candidates if candidate is not None), None)
    if archive is None:
        raise FileNotFoundError(f"{path} holds no file like {wanted.pattern}; is this the right download?")
    return archive


def _open_zip(file: Path | io.BytesIO, origin: str, wanted: re.Pattern[str], depth: int = 0) -> Archive | None:
    archive = complete_zip(file, origin)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    size = file.stat().st_size if isinstance(file, Path) else len(file.getbuffer())

    def read(name: str) -> bytes:
        entry = archive.getinfo(name)
        check_unpacked(entry.file_size, min(entry.compress_size, size), f"{origin}/{name}")
        return archive.read(entry)

    found = _rooted(origin, names, read, wanted)
    if found is None:
        inner = sorted(name for name in names if name.lower().endswith(".zip"))
        if inner and depth >= _DEEPEST:
            raise ValueError(
                f"{origin} holds zips in zips in zips, such as {inner[0]!r}; unpack it, and give the folder"
            )
        opened = (_open_inner(read, name, origin, wanted, depth + 1) for name in inner)
        found = next((candidate for candidate in opened if candidate is not None), None)
    return found


def _open_inner(
    read: Callable[[str], bytes], name: str, origin: str, wanted: re.Pattern[str], depth: int
) -> Archive | None:
    where = f"{origin}/{name}"
    with damage_named(where):
        content = read(name)
    return _open_zip(io.BytesIO(content), where, wanted, depth)


def _rooted(origin: str, names: list[str], read: Callable[[str], bytes], wanted: re.Pattern[str]) -> Archive | None:
    hit = next((name for name in sorted(names) if wanted.search(name)), None)
    if hit is None:
        return None
    folders = hit.split("/")[:-2]
    root = "".join(f"{folder}/" for folder in folders)
    inside = tuple(sorted(name[len(root) :] for name in names if name.startswith(root)))
    return Archive(f"{origin}/{root}".rstrip("/"), inside, lambda name: read(root + name))
