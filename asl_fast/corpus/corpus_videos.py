# SPDX-License-Identifier: Apache-2.0
"""The videos of a corpus: files by pattern, each with a name that stays whatever lies beside it."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asl_fast.video.found import SUFFIXES
from asl_fast.wording import count


@dataclass(frozen=True)
class CorpusVideo:
    """One video file of a corpus.

    Attributes:
        name: Its path below the folder that the pattern begins with, without extension.
        path: The file, absolute, as every machine sees it.
        size: Bytes.
        modified_ns: When it was last changed; together with its size it shows that the file is still the same.
    """

    name: str
    path: str
    size: int
    modified_ns: int


def find_corpus(patterns: Sequence[str]) -> list[CorpusVideo]:
    """Find the videos of a corpus, by name.

    Args:
        patterns: Files, folders, which stand for everything below them, and patterns with ``*``, ``?``, ``[...]`` and
            ``**``, any number of folders. Of what a pattern finds, video files are taken; a file that is named itself
            may have any extension.

    Raises:
        FileNotFoundError: Naming a pattern that finds no video.
        ValueError: When two files have one name.
    """
    found: dict[str, CorpusVideo] = {}
    for pattern in patterns:
        root, files = _matches(pattern)
        for file in files:
            name = file.relative_to(root).with_suffix("").as_posix()
            state = file.stat()
            video = CorpusVideo(name, str(file.absolute()), state.st_size, state.st_mtime_ns)
            if not _is_text(video.path):
                raise ValueError(f"--input: {video.path!r} is no text that a table can hold; rename it")
            other = found.setdefault(name, video)
            if other.path != video.path:
                raise ValueError(
                    f"--input: {other.path} and {video.path} are both called {name!r}; rename or leave out one of them"
                )
    return [found[name] for name in sorted(found)]


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matches(pattern: str) -> tuple[Path, list[Path]]:
    """Return the folder that names count from, and the files."""
    given = Path(pattern)
    if given.is_file():
        return given.parent, [given]
    root = given
    if given.is_dir():
        pattern = os.path.join(glob.escape(pattern), "**")
    else:
        while glob.has_magic(str(root)):
            root = root.parent
    paths = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]
    files = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not files:
        others = f"{count(sum(map(Path.is_file, paths)), 'file')} of other kinds" if paths else "nothing"
        raise FileNotFoundError(
            f"--input {pattern!r} finds no video ({', '.join(SUFFIXES)}) but {others}; in quotes, 'videos/**' stands "
            "for all files below a folder"
        )
    return root, files
