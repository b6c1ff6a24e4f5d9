# SPDX-License-Identifier: Apache-2.0
"""Recordings of two real data sets, written as somebody's own tables, from --signals to detections."""

from __future__ import annotations

import csv
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.detect import main as detect_main
from asl_fast.train import main as train_main
from tests.shared import shared_file

TINY = [
    *("--preset", "smoke", "--model.width", "16", "--model.num-heads", "2", "--model.attention-windows", "5"),
    *("--threads", "1", "--epochs", "1", "--warmup-epochs", "0", "--device", "cpu", "--model.front-end.width", "8"),
]


def write_shrec(folder: Path) -> None:
    """Write the first hands of SHREC'22, 26 joints each, as tables with the uneven times of their frames."""
    packed = shared_file("data/shrec22")
    with lzma.open(packed / "positions_delta.npy.xz") as file:
        moves = np.load(file)
    rows = list(csv.DictReader((packed / "sequences.csv").open()))
    names, frames = [row["id"] for row in rows], [int(row["frames"]) for row in rows]
    with lzma.open(packed / "time_delta_us.npy.xz") as file:
        waits = np.load(file)
    database = json.loads((packed / "annotations.json").read_text())["database"]
    chosen = [*names[:6], *[name for name in names if database[name]["subset"] == "testing"][:2]]
    (folder / "signals").mkdir()
    for name in chosen:
        index = names.index(name)
        here = slice(sum(frames[:index]), sum(frames[: index + 1]))
        positions = np.cumsum(moves[:, here], axis=1, dtype=np.int64).T * 1e-4
        times = np.cumsum(waits[here], dtype=np.int64) * 1e-6
        header = ",".join(["time_sec", *(f"joint{k // 3}_{'xyz'[k % 3]}" for k in range(len(moves)))])
        table = np.column_stack([times, positions])
        np.savetxt(folder / "signals" / f"{name}.csv", table, delimiter=",", header=header, comments="", fmt="%.5f")
    entries: dict[str, Any] = {
        name: {"subset": database[name]["subset"], "annotations": database[name]["annotations"]} for name in chosen
    }
    (folder / "a.json").write_text(json.dumps({"database": entries}))


def write_hapt(folder: Path) -> None:
    """Write the smartphones of three users of HAPT as arrays of 50 samples a second, without time stamps."""
    archive = zipfile.ZipFile(shared_file("data/hapt/hapt_rawdata.zip"))

    def table(name: str) -> np.ndarray:
        return np.loadtxt(io.BytesIO(archive.read(name)))

    labels = table("RawData/labels.txt").astype(int)
    names = [line.split()[1] for line in archive.read("activity_labels.txt").decode().splitlines() if line.strip()]
    database: dict[str, Any] = {}
    (folder / "signals").mkdir()
    for experiment, user, subset in ((1, 1, "train"), (5, 3, "train"), (7, 4, "test")):
        place = f"exp{experiment:02d}_user{user:02d}"
        sensors = [table(f"RawData/{kind}_{place}.txt") for kind in ("acc", "gyro")]
        np.save(folder / "signals" / f"{place}.npy", np.column_stack(sensors).astype(np.float32))
        rows = labels[labels[:, 0] == experiment]
        annotations = [
            {"label": names[kind - 1], "segment": [(start - 1) / 50, end / 50]} for _, _, kind, start, end in rows
        ]
        database[place] = {"subset": subset, "duration": len(sensors[0]) / 50, "annotations": annotations}
    (folder / "a.json").write_text(json.dumps({"database": database}))


@pytest.mark.parametrize(
    ("write", "options", "said"),
    [
        (write_shrec, ["--channels", "triaxial:78"], "8 of 8 recordings have time stamps"),
        (write_hapt, ["--channels", "triaxial:6", "--rate", "50"], "channels 6: 6 triaxial"),
    ],
)
def test_real_recordings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write: Any,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    given = ["--annotations", "a.json", "--signals", "signals", *options]
    assert train_main([*given, *TINY, "--output", "run"]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    found = json.loads(Path("run/detections.json").read_text())["results"]
    database = json.loads(Path("a.json").read_text())["database"]
    assert set(found) == {name for name, entry in database.items() if entry["subset"].startswith("test")}
    name = min(found)
    (path,) = Path("signals").glob(f"{name}.*")
    assert detect_main(["--run", "run", "--features", str(path), "--output", "found.json"]) == 0
    actions = json.loads(Path("found.json").read_text())["results"][name]
    labels = {each["label"] for entry in database.values() for each in entry["annotations"]}
    assert actions and {each["label"] for each in actions} <= labels
