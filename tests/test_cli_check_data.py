# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.check_data`` on real annotations, with features in their real layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.check_data import main
from tests.data.layouts import DIM, thumos_folder
from tests.shared import shared_file
from tests.training.tiny import small_hapt


def check(capsys: pytest.CaptureFixture[str], root: Path, *words: str, dataset: str = "thumos14") -> tuple[int, str]:
    """Status and report."""
    status = main(["--dataset", dataset, "--data-root", str(root), *words])
    return status, capsys.readouterr().out


def problems(out: str) -> list[str]:
    """List the problems of reports, each as one line."""
    blocks = out.split("PROBLEM  ")[1:]
    return [" ".join(block.split("\nnote ")[0].split()) for block in blocks]


def edit(root: Path, change: Any) -> None:
    """Change the annotations in place; ``change`` gets the list of entries."""
    path = root / "annotations" / "thumos14.json"
    content = json.loads(path.read_text())
    change(content["database"])
    path.write_text(json.dumps(content))


def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = check(capsys, thumos_folder(tmp_path / "data"), "--json", str(tmp_path / "report.json"))
    assert status == 0 and problems(out) == []
    assert "24 of 24 videos as expected" in out
    assert "manifest thumos14-i3d: stride 4, window 16, fps of each video" in out
    assert out.rstrip().splitlines()[-1].startswith("no problem") and "ready to train" in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == 0 and report["splits"]["train"]["with_features"] == 12
    assert report["manifest"]["dim"] == DIM and len(report["timing"]["ratios"]) == 24
    instances = report["splits"]["train"]["instances"]
    assert 0 < sum(level["count"] for level in report["levels"]) <= instances
    assert [level["range_grid"][0] for level in report["levels"]] == [0, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(("stride", "words"), [(2, "2.00 times longer"), (8, "2.00 times shorter")])
def test_a_wrong_stride(tmp_path: Path, capsys: pytest.CaptureFixture[str], stride: int, words: str) -> None:
    root = thumos_folder(tmp_path / "data", steps=lambda index, duration, fps: (duration * fps - 16) / stride + 1)
    status, out = check(capsys, root, "--json", str(tmp_path / "report.json"))
    (problem,) = problems(out)
    assert status == 1
    assert f"features are {words} than manifest 'thumos14-i3d' says" in problem
    assert f"stride {stride} or fps {30 * 4 // stride}?" in problem
    (finding,) = (f for f in json.loads((tmp_path / "report.json").read_text())["findings"] if f["severity"] != "note")
    assert finding["kind"] == "wrong stride or fps"


def test_a_wrong_frame_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data")
    (tmp_path / "mine.json").write_text('{"stride_frame": 4, "window_frame": 16, "fps": 25}')
    status, out = check(capsys, root, "--manifest", str(tmp_path / "mine.json"))
    assert status == 1
    assert "features are 1.20 times longer than manifest 'mine' says" in problems(out)[0]
    assert "or fps 30?" in problems(out)[0]


def test_a_wrong_stride_in_some_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(
        tmp_path / "data",
        steps=lambda index, duration, fps: (duration * fps - 16) / (8 if index % 4 == 0 else 4) + 1,
    )
    status, out = check(capsys, root)
    (problem,) = problems(out)
    assert status == 1 and "18 of 24 videos as expected" in out
    assert "6 videos of 24 have features 2.0" in problem and "times shorter" in problem
    assert "unlike the others: stride 8 or fps 15 there? video_" in problem


def test_a_single_cut_video_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data")
    file = min((root / "features").iterdir())
    np.save(file, np.load(file)[:40])
    status, out = check(capsys, root)
    assert status == 0
    assert f"{file.stem} does not fit the duration; {file.stem}: 40 feature vectors cover" in out


def test_resized_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data", steps=lambda *_: 100)
    edit(root, lambda videos: videos[min(videos)].update(duration=90.0))
    status, out = check(capsys, root)
    assert status == 1 and "every video has exactly 100 feature vectors" in problems(out)[0]
    (tmp_path / "even.json").write_text('{"stride_frame": null}')
    status, out = check(capsys, root, "--manifest", str(tmp_path / "even.json"))
    assert status == 0 and "any length fits" in out


def test_missing_damaged_and_left_over_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data")
    missing, nan, narrow = sorted((root / "features").iterdir())[1:4]
    missing.rename(root / "features" / "someone_else.npy")
    values = np.load(nan)
    values[3, 4] = np.nan
    np.save(nan, values)
    np.save(narrow, np.load(narrow)[:, :7])
    status, out = check(capsys, root)
    first, second = problems(out)
    assert status == 1
    assert f"1 video of 24 without features; no features for video '{missing.stem}'" in first
    assert "2 videos with features of no use" in second and "value nan at step 3, channel 4" in second
    text = " ".join(out.split())
    assert "1 feature file in" in text and "without annotation: someone_else" in text
    status, out = check(capsys, root, "--headers-only")
    assert status == 1 and "1 video with features of no use" in problems(out)[1] and "nan" not in out


def test_names_that_do_not_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data", prefix="v_")
    status, out = check(capsys, root)
    (problem,) = problems(out)
    assert status == 1 and "none of the 24 videos" in problem
    assert "names there are 'v_' + video" in problem and '--feature-prefix="v_"' in problem
    status, out = check(capsys, root, "--feature-prefix", "v_")
    assert status == 0 and "24 of 24 videos as expected" in out
    (tmp_path / "mine.json").write_text('{"stride_frame": 4, "window_frame": 16, "prefix": "v_"}')
    status, out = check(capsys, root, "--manifest", str(tmp_path / "mine.json"))
    assert status == 0 and "24 of 24 videos as expected" in out


def test_odd_annotations_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data")

    def change(videos: dict[str, Any]) -> None:
        entry = next(entry for entry in videos.values() if entry["subset"] == "Validation")
        first, end = entry["annotations"][0], entry["duration"]
        for segment in ([end + 1, end + 2], [end - 1, end + 1], [-1, 1], [3, 3], first["segment"]):
            entry["annotations"].append(first | {"segment": segment})

    edit(root, change)
    status, out = check(capsys, root)
    text = " ".join(out.split())
    assert status == 0
    assert "start after the end of the video" in text and "end after the end of the video" in text
    assert (
        "start before 0 s" in text and "have no length" in text and "the same segment and class more than once" in text
    )
    assert "only in the test split" in text


def test_bad_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    root = thumos_folder(tmp_path / "data")
    edit(root, lambda videos: videos[min(videos)].update(duration="long"))
    status, out = check(capsys, root)
    (problem,) = problems(out)
    assert status == 1 and "1 video of" in problem and "left out, bad annotation: video_test_" in problem
    assert "'duration': expected a number, found 'long'" in caplog.text
    assert "without annotation" not in out


def test_times_in_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data")

    def change(videos: dict[str, Any]) -> None:
        for entry in videos.values():
            for instance in entry["annotations"]:
                instance["segment"] = instance["segment(frames)"]

    edit(root, change)
    status, out = check(capsys, root)
    assert status == 1 and "are the times in frames?" in problems(out)[0]


def test_a_split_without_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data")
    edit(root, lambda videos: [e.update(annotations=[]) for e in videos.values() if e["subset"] == "Test"])
    status, out = check(capsys, root)
    assert status == 1 and "no instance to test on: 12 videos and none has an annotation" in problems(out)[0]


def test_hapt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = check(capsys, small_hapt(shared_file("data/hapt"), tmp_path / "data"), dataset="hapt")
    assert status == 0 and "4 of 4 videos as expected" in out
    assert "stride 6, window 6, fps 50" in out


def test_what_cannot_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data", videos=1)
    (tmp_path / "typo.json").write_text('{"stride": 4}')
    (tmp_path / "empty.json").write_text("{}")
    for words, message in (
        (["thumos", root], "did you mean 'thumos14'?"),
        (["thumos14", tmp_path / "gone"], "is not a folder"),
        (["charades", root], "looked for charades.json"),
        (["thumos14", root, "--features", tmp_path / "no"], "no does not exist"),
        (["thumos14", root, "--manifest", "thumos"], "unknown feature manifest 'thumos'"),
        (
            ["thumos14", root, "--manifest", tmp_path / "typo.json"],
            "unknown key 'stride'; did you mean 'stride_frame'?",
        ),
        (["thumos14", root, "--manifest", tmp_path / "empty.json"], "no 'stride_frame'"),
        (["hapt", root, "--manifest", "thumos14-i3d"], "has no option manifest"),
        (["thumos14", root, "--json", tmp_path / "no" / "report.json"], "No such file"),
    ):
        dataset, folder, *rest = map(str, words)
        assert main(["--dataset", dataset, "--data-root", folder, *rest]) == 2
        out, err = capsys.readouterr()
        assert err.startswith("error: ") and message in err and err.count("\n") == 1, err
        assert out == ""


def test_one_bad_annotation_costs_that_annotation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data")
    edit(root, lambda videos: next(iter(videos.values()))["annotations"].insert(0, {"segment": [1.0], "label": "x"}))
    video = next(iter(json.loads((root / "annotations" / "thumos14.json").read_text())["database"]))
    status, out = check(capsys, root)
    assert status == 1 and "thumos14: 24 videos" in out
    assert f"1 annotation of {root / 'annotations' / 'thumos14.json'} left out, in 1 video: {video}" in problems(out)[0]
    assert main(["--dataset", "thumos14", "--data-root", str(root), "--strict"]) == 2
    assert f"video '{video}', annotation 0: 'segment' must be [start, end]" in capsys.readouterr().err


def test_strict_stops_at_the_first_unusable_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = thumos_folder(tmp_path / "data")
    file = sorted((root / "features").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-1])
    assert check(capsys, root)[0] == 1
    assert main(["--dataset", "thumos14", "--data-root", str(root), "--strict"]) == 2
    assert f"error: {file}" in capsys.readouterr().err


def test_names_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root = thumos_folder(tmp_path / "data")
    actions = [{"segment": [0, 20], "label": "VolleyballSpiking", "label_id": 19}]
    video = {"subset": "Test\x1b[2J", "duration": 9.0, "fps": 25, "annotations": actions}
    edit(root, lambda videos: videos.update({"\x1b[31mv": video, "\x1b[31mw": 7}))
    status = main(["--dataset", "thumos14", "--data-root", str(root)])
    captured = capsys.readouterr()
    assert status in (1, 2) and "\x1b" not in captured.out + captured.err + caplog.text and "\\x1b" in captured.out
