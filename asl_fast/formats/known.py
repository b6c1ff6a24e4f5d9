# SPDX-License-Identifier: Apache-2.0
"""The formats by name, where the files of each go, and writing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asl_fast.files import write_text
from asl_fast.formats import to_csv, to_elan, to_fiftyone, to_label_studio, to_subtitles
from asl_fast.formats.recording import Origin, Recording
from asl_fast.formats.text import file_names
from asl_fast.wording import nearest

JSON = "json"
"""ActivityNet-style JSON, which `asl_fast.evaluation.activitynet_json` writes; it has a place here and no writer."""

_Together = Callable[[Sequence[Recording], Origin], str]
TOGETHER: Mapping[str, Mapping[str, _Together]] = {
    JSON: {".json": lambda recordings, origin: ""},
    "csv": {".csv": to_csv.render},
    "label-studio": {".label-studio.json": to_label_studio.render, ".label-studio.xml": to_label_studio.render_config},
    "fiftyone": {".fiftyone.json": to_fiftyone.render},
}
"""Formats with one file, or one and its companions, for all recordings: what writes each, by the ending of its name."""

EACH: Mapping[str, tuple[str, Callable[[Recording, Origin], str]]] = {
    "srt": (".srt", to_subtitles.render_srt),
    "vtt": (".vtt", to_subtitles.render_vtt),
    "elan": (".eaf", to_elan.render),
}
"""Formats with one file for each recording: the ending of their names, and what writes them."""

NAMES = (*TOGETHER, *EACH)
SUBTITLES = ("srt", "vtt")


@dataclass(frozen=True)
class Places:
    """Where files go.

    Attributes:
        files: Of the formats with one file for all recordings: path by format and ending.
        folder: Of the files of single recordings; None where no format has such.
        each: Formats with a file for each recording.
        single: The file of the only recording, in place of ``folder``.
    """

    files: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    folder: Path | None = None
    each: tuple[str, ...] = ()
    single: Path | None = None

    @property
    def json(self) -> Path | None:
        """Where the JSON goes that is not written here."""
        return self.files.get((JSON, ".json"))


def parse_formats(text: str) -> tuple[str, ...]:
    """Read ``json,csv,srt``.

    Raises:
        ValueError: For an unknown format, with the nearest known one, and for none.
    """
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise ValueError(f"--format needs one or more of {', '.join(NAMES)}")
    for name in found:
        if name not in NAMES:
            raise ValueError(f"--format {text}: {name!r} is no format; {nearest(name, NAMES)}")
    return tuple(dict.fromkeys(found))


def places(output: Path, formats: Sequence[str]) -> Places:
    """Say where the files of several formats go.

    One file for all recordings takes ``output`` as its name: that of the format whose ending it has, or of the first.
    The others have its stem and their own ending. Files of single recordings go into a folder of that stem, or into
    ``output`` itself where there are no others; one that ends as the only such format does is the file of the only
    recording.

    Args:
        output: What the user named.
        formats: Names of formats.

    Raises:
        ValueError: When a file and a folder would have one name; for a name that ends as another format does.
    """
    _check_ending(output, formats)
    together = [(name, ending) for name in formats if name in TOGETHER for ending in TOGETHER[name]]
    each = tuple(name for name in formats if name in EACH)
    if not together:
        if len(each) == 1 and output.name.lower().endswith(EACH[each[0]][0]):
            return Places(each=each, single=output)
        return Places(folder=output, each=each)
    own = next((pair for pair in together if output.name.endswith(pair[1])), None)
    stem = output.name.removesuffix(own[1]) if own is not None else output.stem
    files = {(name, ending): output.with_name(f"{stem}{ending}") for name, ending in together}
    if own is None:
        files[together[0]] = output
    folder = output.with_name(stem) if each else None
    if folder in files.values():
        raise ValueError(f"--output {output} would be a file and a folder; give it an ending, such as {output}.json")
    return Places(files, folder, each)


def _check_ending(output: Path, formats: Sequence[str]) -> None:
    """Refuse ``found.json`` for subtitles: it would be a folder of them, or a table that looks like something else."""
    endings = {name: (*TOGETHER[name],) if name in TOGETHER else (EACH[name][0],) for name in NAMES}
    ending = output.suffix.lower()
    if any(each.endswith(ending) for name in formats for each in endings[name]):
        return
    for name in NAMES:
        if ending in endings[name]:
            raise ValueError(f"--output {output} ends as {name} does, but --format is {','.join(formats)}")


def write(target: Places, recordings: Sequence[Recording], origin: Origin) -> list[Path]:
    """Write every format but JSON, each file atomically.

    Args:
        target: Where to.
        recordings: What was found.
        origin: Where it comes from.

    Returns:
        The files, in the order in which they were written.

    Raises:
        OSError: Naming the file that cannot be written.
    """
    written: list[Path] = []

    def put(path: Path, text: str) -> None:
        write_text(path, text)
        written.append(path)

    for (name, ending), path in target.files.items():
        if name != JSON:
            put(path, TOGETHER[name][ending](recordings, origin))
    for name in target.each:
        ending, render = EACH[name]
        for recording, path in _each_path(target, recordings, ending):
            put(path, render(recording, origin))
    return written


def _each_path(target: Places, recordings: Sequence[Recording], ending: str) -> Iterator[tuple[Recording, Path]]:
    if target.folder is None:
        assert target.single is not None
        yield from ((recording, target.single) for recording in recordings[:1])
        return
    target.folder.mkdir(exist_ok=True)
    names = file_names(recording.name for recording in recordings)
    for recording in recordings:
        yield recording, target.folder / f"{names[recording.name]}{ending}"
