# SPDX-License-Identifier: Apache-2.0
"""Every public command, as somebody would call it: the cases of commands.txt and odd.txt, one a line."""

from __future__ import annotations

import json
import math
import os
import pickle
import shlex
import shutil
import struct
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from asl_fast.__main__ import COMMANDS, main
from asl_fast.files import read_json, write_json
from asl_fast.training.checkpoint import load_checkpoint, save_checkpoint
from asl_fast.training.run_folder import RunFolder
from tests.cases.odd_files import write_named
from tests.cases.recordings import write
from tests.cases.tables import check, outcome, rows, write_found, write_truth

SMALL = (
    "--preset smoke --model.width 16 --model.num-heads 2 --model.attention-windows 5 --threads 1 --epochs 1 "
    "--warmup-epochs 1 --device cpu"
)
RECIPE = "n=8"
CASES = [*rows("commands.txt"), *rows("odd.txt")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trained run's folder; its data lie beside it."""
    root = tmp_path_factory.mktemp("trained")
    words = write(root, RECIPE)
    assert import_module("asl_fast.train").main([*words, *SMALL.split(), "--output", str(root / "run")]) == 0
    return root / "run"


def _flip(run: RunFolder) -> None:
    content = bytearray(run.last.read_bytes())
    with zipfile.ZipFile(run.last) as archive:
        tensors = [entry for entry in archive.infolist() if "/data/" in entry.filename]
        largest = max(tensors, key=lambda entry: entry.file_size)
    # Behind its header, which says how long a name and what else follows; elsewhere may be what fills up the file.
    name, more = struct.unpack_from("<HH", content, largest.header_offset + 26)
    content[largest.header_offset + 30 + name + more + largest.file_size // 2] ^= 1
    run.last.write_bytes(content)


def _cut(run: RunFolder) -> None:
    run.last.write_bytes(run.last.read_bytes()[:-100])


def _pickle(run: RunFolder) -> None:
    run.last.write_bytes(pickle.dumps({"config": {}}))


def _no_number(run: RunFolder) -> None:
    content = load_checkpoint(run.last)
    next(iter(content["average"]["module"].values())).fill_(math.nan)
    save_checkpoint(run.last, content)


def _foreign(run: RunFolder) -> None:
    write_found(run.detections, "a 0 10 run .9")


def _edited(run: RunFolder) -> None:
    write_json(run.config, read_json(run.config) | {"epochs": "many"})


def _mixed(run: RunFolder) -> None:
    write_json(run.dataset, read_json(run.dataset) | {"class_names": ["fly", "swim"]})


def _diverged(run: RunFolder) -> None:
    run.metrics.write_text(run.metrics.read_text().replace('"total": ', '"total": NaN, "was": '))


def _interrupted(run: RunFolder) -> None:
    run.ground_truth.unlink()


def _piped(run: RunFolder) -> None:
    run.last.unlink()
    os.mkfifo(run.last)


def _lost(run: RunFolder) -> None:
    run.last.unlink()


def _foldered(run: RunFolder) -> None:
    run.last.unlink()
    run.last.mkdir()


def _half_scored(run: RunFolder) -> None:
    run.evaluation.write_text("{")


def _unconfigured(run: RunFolder) -> None:
    run.config.write_text("[]")


# Words of a case that stand for a copy of the trained run, and what is done to it.
SPOILT = {
    "RUN": lambda run: None,
    "FLIPPED": _flip,
    "CUT": _cut,
    "PICKLED": _pickle,
    "NOTANUMBER": _no_number,
    "FOREIGN": _foreign,
    "EDITED": _edited,
    "MIXED": _mixed,
    "DIVERGED": _diverged,
    "INTERRUPTED": _interrupted,
    "PIPED": _piped,
    "LOST": _lost,
    "FOLDERED": _foldered,
    "HALFSCORED": _half_scored,
    "UNCONFIGURED": _unconfigured,
}


@pytest.mark.parametrize(("recipe", "line", "status", "says"), CASES)
def test_case(
    recipe: str,
    line: str,
    status: str,
    says: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = " ".join(os.path.relpath(word) if word.startswith("/") else word for word in write(tmp_path, recipe))
    for word in SPOILT.keys() & set(line.replace("/", " ").split()):
        shutil.copytree(run, tmp_path / word)
        SPOILT[word](RunFolder(tmp_path / word))
    write_truth(tmp_path / "gt.json", "a 0 10 run; a 20 30 jump; b 5 9 run")
    write_found(tmp_path / "det.json", "a 0 10 run .9; a 20 30 jump .8; b 5 9 run .7")
    write_found(tmp_path / "none.json", "a; b")
    Path("rates.json").write_text(json.dumps({f"v{index:02d}": 25 for index in range(8)}))
    write_named(line, tmp_path)
    words = shlex.split(line.replace("DATA", data).replace("SMALL", SMALL).replace("LONG", 300 * "a"))
    result = outcome(main, words, capsys)
    check(int(status), says, (result[0], result[1], f"{caplog.text}\n{result[2]}"))


def test_every_command_appears() -> None:
    called = {str(case.values[1]).split()[0].replace("-", "_") for case in CASES}
    assert set(COMMANDS) <= called
