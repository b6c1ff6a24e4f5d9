# SPDX-License-Identifier: Apache-2.0
"""How a case is written on one line, and how a command is run on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


def rows(name: str) -> list[Any]:
    """Cases of a table in this folder: the columns behind the first one, which names the case."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line and not line.startswith("#")]
    assert len({row[0] for row in cells}) == len(cells), "each case has a name of its own"
    return [pytest.param(*row[1:], id=row[0]) for row in cells]


def entries(text: str) -> dict[str, list[dict[str, Any]]]:
    """Entries by video of ``video start end label score; ...``; a video alone has none."""
    videos: dict[str, list[dict[str, Any]]] = {}
    for part in filter(None, (part.split() for part in text.split(";"))):
        listed = videos.setdefault(part[0], [])
        if len(part) > 1:
            entry: dict[str, Any] = {"segment": [float(time) for time in part[1:3]]}
            name, _, number = part[3].partition("#")
            if name:
                entry["label"] = name
            if number:
                entry["label_id" if name else "label"] = int(number)
            if part[3] == "-":
                del entry["label"]
            if len(part) > 4:
                entry["score"] = float(part[4])
            listed.append(entry)
    return videos


def write_truth(path: Path, text: str, subset: str = "test") -> Path:
    """Write annotations in the short form."""
    database = {
        video: {"subset": subset, "duration": 1000.0, "annotations": listed} for video, listed in entries(text).items()
    }
    path.write_text(json.dumps({"database": database}))
    return path


def write_found(path: Path, text: str) -> Path:
    """Write detections in the short form."""
    path.write_text(json.dumps({"results": entries(text)}))
    return path


def manifest_words(words: str, folder: Path) -> list[str]:
    """Split the words of a command; a last ``MANIFEST/stride_frame=8,key=rgb`` is written as JSON and named instead."""
    command = words.split()
    if command and command[-1].startswith("MANIFEST/"):
        pairs = dict(pair.split("=") for pair in command[-1].removeprefix("MANIFEST/").split(","))
        command[-1] = str(folder / "given.json")
        texts = ("key", "prefix", "suffix", "extension", "layout")
        content = {key: value if key in texts else float(value) for key, value in pairs.items()}
        Path(command[-1]).write_text(json.dumps(content))
    return command


def outcome(
    main: Callable[[Sequence[str]], int], words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    capsys.readouterr()
    try:
        status = main(list(words))
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def check(case_status: int, says: str, found: tuple[int, str, str]) -> None:
    """Compare an outcome with what a case expects."""
    status, out, err = found
    said = " ".join((out + " " + err).split())
    assert status == case_status, said
    if says.startswith("mAP "):
        assert out.splitlines()[-1].split()[-1] == says.removeprefix("mAP "), out
    else:
        assert says in said, said
    if status == 2:
        assert err.splitlines()[-1].startswith("error: ")
