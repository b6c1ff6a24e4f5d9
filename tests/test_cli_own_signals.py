# SPDX-License-Identifier: Apache-2.0
"""One's own raw signals from files to detections, through the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.check_data import main as check_main
from asl_fast.data.channels import read_channels
from asl_fast.data.custom.signals import SignalReading, open_own_signals, strides_of
from asl_fast.detect import main as detect_main
from asl_fast.detection.raw_signals import raw_signals
from asl_fast.serialization import read_config
from asl_fast.train import main as train_main
from asl_fast.training.config import TrainConfig

SMALL = [
    *("--preset", "smoke", "--model.width", "16", "--model.num-heads", "2", "--model.attention-windows", "5"),
    *("--threads", "1", "--epochs", "1", "--warmup-epochs", "1", "--device", "cpu", "--model.front-end.width", "8"),
]
OWN = ["--annotations", "a.json", "--signals", "signals"]


def write_signals(root: Path, *, number: int = 6, stamped: bool = True, durations: bool = False) -> None:
    """Write ``a.json`` and ``signals``: two sensors of three axes and one scalar, at uneven times."""
    generator = np.random.default_rng(0)
    (root / "signals").mkdir()
    database: dict[str, Any] = {}
    for index in range(number):
        times = np.cumsum(generator.uniform(0.015, 0.025, 600))
        values, found, start = generator.normal(0, 0.3, (600, 7)), [], 1.0
        while (end := start + float(generator.uniform(0.8, 2.0))) < times[-1] - 0.5:
            label = int(generator.integers(2))
            values[(times > start) & (times < end), 3 * label] += 2
            found.append({"segment": [start, end], "label": ("shake", "turn")[label]})
            start = end + float(generator.uniform(0.5, 1.5))
        database[f"r{index}"] = {"annotations": found} | ({"duration": float(times[-1])} if durations else {})
        table = np.column_stack([times * 1e3, values]) if stamped else values
        header = ("timestamp_ms," if stamped else "") + "ax,ay,az,gx,gy,gz,pulse"
        path = root / "signals" / f"r{index}.csv"
        np.savetxt(path, table, delimiter=",", header=header, comments="", fmt="%.5f")
    (root / "a.json").write_text(json.dumps({"database": database}))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_signals(tmp_path)
    return tmp_path


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line that a refused training prints."""
    assert train_main([*words, *SMALL, "--output", "refused"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_from_tables_to_detections(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*OWN, "--channels", "triaxial:6,scalar:1"]
    assert check_main(words) == 0
    assert "no problem" in capsys.readouterr().out
    assert train_main([*words, *SMALL, "--output", "run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "the usual distance of time stamps; 6 of 6 recordings have time stamps" in out
    assert "channels 7: 6 triaxial, 1 scalar" in out
    config = read_config(TrainConfig, Path("run/config.json"))
    # The 5th percentile of the actions is about 0.85 s: 42 samples, of which a step takes 3 to leave a dozen steps.
    assert config.data.samples_per_step == 3 and config.model.front_end is not None
    assert (config.model.front_end.strides, config.model.feature_dim) == ((1, 3), 21)
    assert config.data.signal_rate_hz == pytest.approx(50, rel=0.03) and config.data.rotation_sd_deg > 0

    def detected(path: str) -> dict[str, Any]:
        assert detect_main(["--run", "run", "--features", path, "--output", "found.json"]) == 0
        found: dict[str, Any] = json.loads(Path("found.json").read_text())["results"]
        return found

    whole = detected("signals")
    assert sorted(whole) == [f"r{index}" for index in range(6)] and all(whole.values())
    # Alone as among others, up to the rounding of sums over another padding.
    alone = detected("signals/r2.csv")
    assert list(alone) == ["r2"]
    for key, tolerance in (("segment", 1e-3), ("score", 1e-4)):
        first, second = (np.array([each[key] for each in found["r2"]]) for found in (alone, whole))
        np.testing.assert_allclose(first, second, rtol=0, atol=tolerance)
    # Columns are known by their names here too; other names, and a value out of this world, are said.
    lines = [line.split(",") for line in Path("signals/r2.csv").read_text().splitlines()]
    Path("r2.csv").write_text("\n".join(",".join([row[0], row[7], *row[2:7], row[1]]) for row in lines))
    capsys.readouterr()
    assert detected("r2.csv") == alone
    assert "columns of r2 are in another order than of training: taken by their names" in capsys.readouterr().err
    lines[0][1], lines[9][1] = "speed", "1e12"
    Path("r2.csv").write_text("\n".join(",".join(row) for row in lines))
    detected("r2.csv")
    err = capsys.readouterr().err
    assert "columns have other names: speed, ay, az and 4 more in r2, ax, ay, az and 4 more in training" in err
    assert "r2.csv: a value at step" in err and "standard deviations from those of training" in err
    dataset, notes = json.loads(Path("run/dataset.json").read_text()), list[str]()
    older = raw_signals([Path("r2.csv")], dataset | {"transform": dataset["transform"] | {"names": None}}, notes)
    assert older is not None and len(older[1]("r2").all())
    assert "the run does not know the names of its columns" in notes[0]
    learned = {"transform": dataset["transform"] | {"names": ["Time (s)", *"abcdef"]}}
    refusing = raw_signals([Path("r2.csv")], dataset | learned, notes)
    assert refusing is not None
    with pytest.raises(ValueError, match=r"r2\.csv: the run learned from column 'Time \(s\)' .* train it anew"):
        refusing[1]("r2")
    # The same samples without stamps, at the rate of training, are the same recording.
    table = np.loadtxt("signals/r2.csv", delimiter=",", skiprows=1)
    borders = np.append(table[:, 0], table[-1, 0]) / 1e3
    even = np.arange(borders[0], borders[-1], 1 / config.data.signal_rate_hz)
    np.save("r2.npy", np.stack([np.interp(even, table[:, 0] / 1e3, column) for column in table[:, 1:].T], axis=1))
    assert len(detected("r2.npy")["r2"]) > 0
    assert detect_main(["--run", "run", "--features", "a.json", "--output", "found.json"]) == 2
    assert "recordings of signals are" in capsys.readouterr().err


def test_two_runs_are_the_same_to_the_bit(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *OWN,
        "--channels",
        "triaxial:6,scalar:1",
        *SMALL,
        "--data.jitter-sd",
        "0.1",
        "--data.channel-dropout",
        "0.2",
    ]
    assert train_main([*words, "--output", "whole"]) == 0
    capsys.readouterr()
    assert train_main(["--resume", "--output", "whole"]) == 0
    assert "resuming from" in capsys.readouterr().out
    assert train_main([*words, "--output", "again"]) == 0
    for name in ("detections.json", "ground_truth.json"):
        assert Path("whole", name).read_text() == Path("again", name).read_text()


def test_what_signals_json_says(own: Path) -> None:
    stated = {"rate_hz": 40, "channels": [{"kind": "triaxial", "size": 3}, {"kind": "scalar", "size": 4}]}
    Path("signals/signals.json").write_text(json.dumps(stated))
    data = open_own_signals("a.json", "signals")
    assert data.source.layout.fps == 40 and data.source.transform is not None
    preparation = data.source.transform.preparation
    assert preparation is not None and [group.size for group in preparation.channels] == [3, 4]
    asked = open_own_signals("a.json", "signals", reading=SignalReading(20.0, "scalar:7", 2)).source
    assert asked.layout.fps == 20 and asked.store.dim == 14
    for content, message in (
        ("[]", "expected {"),
        ('{"rate": 5}', "expected {"),
        ('{"rate_hz": "fast"}', "rate_hz: expected a number, found 'fast'"),
        ('{"channels": [{"kind": "triaxial", "size": 6}]}', "7 channels, but the groups of channels 6"),
    ):
        Path("signals/signals.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            open_own_signals("a.json", "signals")


def test_without_time_stamps_the_rate_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_signals(tmp_path, stamped=False, durations=True)
    assert "the samples per second are not known; give them with --rate" in failure(capsys, *OWN)
    data = open_own_signals("a.json", "signals", reading=SignalReading(50.0))
    assert data.source.train[0].duration_sec == pytest.approx(12, rel=0.05)


def test_what_cannot_be_read(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "give either signals or features" in failure(capsys, *OWN, "--features", "signals")
    assert "give --annotations with them" in failure(capsys, "--dataset", "hapt", "--signals", "signals")
    assert "expected kind:size, several joined by commas" in failure(capsys, *OWN, "--channels", "triaxial")
    assert "kind must be one of" in failure(capsys, *OWN, "--channels", "axes:7")
    assert "data.signal_rate_hz must be positive" in failure(capsys, *OWN, "--rate", "0")
    Path("signals/r0.csv").write_text("timestamp_ms,a,b,c,d,e,f,g\n0,1,2,3,4,5,6,7\n5,1,2,3,4,5,6,nan\n")
    Path("signals/r1.csv").write_text("timestamp_ms,a\n0,1\n5,1\n")
    Path("signals/r2.csv").write_text("timestamp_ms,a,b,c,d,e,f,g\n9,1,2,3,4,5,6,7\n5,1,2,3,4,5,6,7\n")
    data = open_own_signals("a.json", "signals")
    assert sorted(data.steps) == ["r3", "r4", "r5"]
    with pytest.raises(ValueError, match=r"r0\.csv: value of sample 1 is not finite"):
        open_own_signals("a.json", "signals", strict=True)
    for path in Path("signals").glob("*.csv"):
        path.rename(path.with_stem(f"x{path.stem}"))
    with pytest.raises(FileNotFoundError, match="no recording has the name of a video"):
        open_own_signals("a.json", "signals")


def test_columns_are_known_by_their_names(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = open_own_signals("a.json", "signals").source.store.load("r0")
    lines = [line.split(",") for line in Path("signals/r0.csv").read_text().splitlines()]
    Path("signals/r0.csv").write_text("\n".join(",".join([row[0], row[7], *row[2:7], row[1]]) for row in lines))
    np.testing.assert_array_equal(open_own_signals("a.json", "signals").source.store.load("r0"), before)
    assert "columns of r0 are in another order than of most: taken by their names" in caplog.text
    lines[0][1] = "speed"
    Path("signals/r0.csv").write_text("\n".join(",".join(row) for row in lines))
    np.testing.assert_array_equal(open_own_signals("a.json", "signals").source.store.load("r0"), before)
    assert "columns have other names: speed, ay, az and 4 more in r0, ax, ay, az and 4 more in most" in caplog.text


def test_a_value_far_from_all_others_is_said(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [line.split(",") for line in Path("signals/r1.csv").read_text().splitlines()]
    lines[4][2] = "-1e9"
    Path("signals/r1.csv").write_text("\n".join(",".join(row) for row in lines))
    assert len(open_own_signals("a.json", "signals").steps) == 6
    assert "signals/r1.csv: sample 3, channel 1 is -1e+09, where" in caplog.text
    with pytest.raises(ValueError, match="scaling by it would make all other values alike"):
        open_own_signals("a.json", "signals", strict=True)
    lines[4][2] = "1e38"
    Path("signals/r1.csv").write_text("\n".join(",".join(row) for row in lines))
    assert "r1" not in open_own_signals("a.json", "signals").steps
    assert "r1.csv: value of sample 3, channel 1, is 1e+38, beyond all reason" in caplog.text


def with_stamps(path: Path, header: str, factor: float) -> None:
    """Write the time stamps of a table, the first column, in another unit, under another name."""
    first, *lines = (line.split(",") for line in path.read_text().splitlines())
    rows = [[header, *first[1:]], *([repr(float(line[0]) * factor), *line[1:]] for line in lines)]
    path.write_text("\n".join(map(",".join, rows)))


def test_time_stamps_as_phyphox_writes_them(own: Path) -> None:
    before = open_own_signals("a.json", "signals").source.store.load("r0")
    for path in Path("signals").glob("*.csv"):
        with_stamps(path, "Time (s)", 1e-3)
    data = open_own_signals("a.json", "signals").source
    assert data.transform is not None and data.transform.names == ("ax", "ay", "az", "gx", "gy", "gz", "pulse")
    np.testing.assert_allclose(data.store.load("r0"), before, atol=1e-4)


@pytest.mark.parametrize("factor", [1e3, 1e6, 1e-3])
def test_a_recording_in_another_unit_is_a_problem(own: Path, capsys: pytest.CaptureFixture[str], factor: float) -> None:
    words = ["--channels", "triaxial:6,scalar:1"]
    assert train_main([*OWN, *words, *SMALL, "--output", "run"]) == 0
    with_stamps(Path("signals/r3.csv"), "timestamp_ms", factor)
    capsys.readouterr()
    size = f"{max(factor, 1 / factor):,.0f} times too {'large' if factor > 1 else 'small'}"
    for rate in ([], ["--rate", "50"]):
        check_main([*OWN, *words, *rate])
        told = " ".join(capsys.readouterr().out.split())
        assert f"its time stamps look {size}" in told and "signals/r3.csv" in told
        assert "1 recording of 6 with time stamps of another unit: r3;" in told and "left out" not in told
    refused = failure(capsys, *OWN, *words)
    assert "1 recording of 6 with time stamps of another unit: r3" in refused and "--accept-units" in refused
    status = detect_main(["--run", "run", "--features", "signals/r3.csv", "--output", "found.json"])
    told = capsys.readouterr().err
    # A recording of months is refused by itself; whatever is detected in, is said to have times that cannot be.
    if factor == 1e6:
        assert status == 2 and "are the time stamps seconds?" in told
    else:
        assert status == 0 and "samples a second where training had" in told and f"stamps look {size}" in told


def test_a_channel_that_counts_is_a_problem(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("signals").glob("*.csv"):
        first, *lines = path.read_text().splitlines()
        counted = [f"{line},{3 * index + 7}" for index, line in enumerate(lines)]
        path.write_text("\n".join([f"{first},packet", *counted]))
    assert check_main(OWN) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "1 problem, 0 notes" in told and "PROBLEM channel 'packet' of signals, from sample to sample one step" in told
    )
    refused = failure(capsys, *OWN)
    assert "channel 'packet' of signals" in refused and "--accept-units" in refused
    assert train_main([*OWN, *SMALL, "--accept-units", "--output", "accepted"]) == 0


def test_stamps_under_a_name_that_nobody_knows_are_noted(
    own: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for path in Path("signals").glob("*.csv"):
        with_stamps(path, "tick", 1.0)
    assert check_main([*OWN, "--rate", "50"]) == 0
    assert "channel 'tick' of signals, rising from sample to sample" in " ".join(capsys.readouterr().out.split())
    assert train_main([*OWN, "--rate", "50", *SMALL, "--output", "run"]) == 0
    assert "channel 'tick' of signals, rising from sample to sample" in caplog.text


def test_a_recording_left_out_is_told_once(
    own: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = Path("signals/r1.csv")
    first, *lines = path.read_text().splitlines()
    path.write_text("\n".join([first, *lines[::-1]]))
    assert check_main(OWN) == 1
    out = capsys.readouterr().out
    assert "1 problem, " in out and "1 recording left out: signals, r1, time runs backwards after sample 0" in out
    assert "duration" not in caplog.text and "bad annotation" not in caplog.text
    assert caplog.text.count("time runs backwards") == 1
    data = open_own_signals("a.json", "signals").source
    assert "r1" not in data.annotations.videos and list(data.unusable) == ["r1"]
    bundle = data.bundle(
        max_length=None, truncation_threshold=0.5, verify=True, seed=0, strict=False, place=Path("signals")
    )
    assert "time runs backwards" in bundle.metadata["skipped"]["r1"]
    # What the annotations say of its length changes nothing.
    content = json.loads(Path("a.json").read_text())
    content["database"]["r1"]["duration"] = 12.0
    Path("a.json").write_text(json.dumps(content))
    assert check_main(OWN) == 1
    assert "1 problem, " in capsys.readouterr().out


def test_time_stamps_that_do_not_rise_are_not_taken_for_none(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("signals").glob("*.csv"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], *(",".join(["7", *line.split(",")[1:]]) for line in lines[1:])]))
    told = failure(capsys, *OWN)
    assert "the time stamps do not tell the samples per second, all 600 are the same in r0" in told
    assert "no recording has usable time stamps" in failure(capsys, *OWN, "--rate", "50")


@pytest.mark.parametrize(
    ("samples", "strides"),
    [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (6, (2, 3)), (12, (3, 4)), (7, (1, 7)), (96, (2, 3, 4, 4))],
)
def test_strides_multiply_to_the_samples(samples: int, strides: tuple[int, ...]) -> None:
    assert strides_of(samples) == strides
    assert np.prod(strides) == samples


def test_words_for_channels() -> None:
    hand, pulse = read_channels("skeleton:78:up=y:name=hand, scalar:2")
    assert (hand.kind, hand.size, hand.up, hand.name, hand.mirror) == ("skeleton", 78, "y", "hand", None)
    assert (pulse.kind, pulse.size) == ("scalar", 2)
    with pytest.raises(ValueError, match="samples per step must be at least 1"):
        strides_of(0)
