# SPDX-License-Identifier: Apache-2.0
"""Detection in a corpus: what a worker writes, what is done again and what is refused; and all of it with Ray."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast import batch, detect, train
from asl_fast.files import read_json
from asl_fast.training.checkpoint import load_checkpoint, save_checkpoint
from asl_fast.training.run_folder import RunFolder
from examples.video.moving_shapes import write_clips

pytest.importorskip("av")
pytest.importorskip("pyarrow", reason="tables are written by pyarrow: pip install 'asl-fast[ray]'")
pq = pytest.importorskip("pyarrow.parquet")

from asl_fast.corpus.cluster import started  # noqa: E402
from asl_fast.corpus.corpus_videos import CorpusVideo, find_corpus  # noqa: E402
from asl_fast.corpus.parts import SCHEMA, Outcome, Parts  # noqa: E402
from asl_fast.corpus.worker import Job, Worker  # noqa: E402
from benchmarks.corpus import table  # noqa: E402

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'asl-fast[ray]'")
Row = dict[str, Any]
TINY = ["--window", "8", "--stride", "4", "--preset", "smoke", "--epochs", "1", "--warmup-epochs", "0"]
TINY += ["--model.width", "16", "--threads", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write six clips in two folders, one of them damaged, and a run that was trained for one epoch."""
    folder = tmp_path_factory.mktemp("corpus")
    actions = write_clips(folder, 5, seconds=8.0)
    given = ["--annotations", str(actions), "--videos", str(folder / "videos"), "--video-cache", str(folder / "cache")]
    assert train.main([*given, *TINY, "--output", str(folder / "run")]) == 0
    (folder / "videos" / "more").mkdir()
    (folder / "videos" / "shapes-04.mp4").rename(folder / "videos" / "more" / "shapes-00.mp4")
    (folder / "videos" / "more" / "empty.mp4").touch()
    (folder / "videos" / "notes.txt").write_text("no video")
    return folder


def corpus(folder: Path) -> list[CorpusVideo]:
    return find_corpus([str(folder / "videos" / "**")])


def worker_of(folder: Path, output: Path, **changes: Any) -> Worker:
    return Worker(Job(str(folder / "run"), str(output), **changes))


def rows_of(path: Path) -> list[Row]:
    table = pq.read_table(path)
    assert table.schema == SCHEMA
    rows: list[Row] = table.to_pylist()
    return rows


def words(folder: Path, output: Path) -> list[str]:
    given = ["--input", str(folder / "videos" / "**"), "--run", str(folder / "run"), "--output", str(output)]
    return [*given, "--workers", "2", "--block", "1", "--device", "cpu"]


def check_whole(folder: Path, rows: list[Row]) -> None:
    """Check that each video is there once: its detections have scores of their own, or it has one row."""
    assert sorted({row["video"] for row in rows}) == [video.name for video in corpus(folder)]
    keys = [(row["video"], row["label"], row["start_sec"], row["end_sec"], row["score"]) for row in rows]
    assert len(set(keys)) == len(keys)


def test_names_stay_whatever_lies_beside(folder: Path, tmp_path: Path) -> None:
    names = ["more/empty", "more/shapes-00", *(f"shapes-{k:02d}" for k in range(4))]
    assert [video.name for video in corpus(folder)] == names
    assert [video.name for video in find_corpus([str(folder / "videos")])] == names
    assert [video.name for video in find_corpus([str(folder / "videos" / "m?re" / "*.mp4")])] == names[:2]
    assert [video.name for video in find_corpus([str(folder / "videos" / "shapes-01.mp4")])] == names[3:4]
    for name in ("a.mp4", "a.mkv"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"both called 'a'; rename"):
        find_corpus([str(tmp_path)])


def test_a_worker_finds_what_detect_finds(folder: Path, tmp_path: Path) -> None:
    videos = corpus(folder)
    worker = worker_of(folder, tmp_path / "out.parquet")
    outcomes = worker.work(videos)
    assert [outcome.status for outcome in outcomes] == ["failed", *["done"] * 5]
    parts = Parts(tmp_path / "out.parquet")
    merged = parts.merge(videos)
    assert merged.statuses == {"failed": 1, "done": 5} and "empty.mp4: is empty" in merged.problems[0]
    rows = rows_of(parts.output)
    check_whole(folder, rows)
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert failed["label"] is None and failed["score"] is None and failed["path"].endswith("more/empty.mp4")
    clip, cache, found = folder / "videos" / "shapes-00.mp4", tmp_path / "cache", tmp_path / "found.json"
    given = ["--run", str(folder / "run"), "--videos", str(clip), "--video-cache", str(cache), "--output", str(found)]
    assert detect.main([*given, "--device", "cpu", "--batch-size", "1"]) == 0
    expected = read_json(found)["results"]["shapes-00"]
    here = [row for row in rows if row["video"] == "shapes-00"]
    assert len(here) == len(expected) > 0
    np.testing.assert_allclose([row["score"] for row in here], [each["score"] for each in expected], rtol=1e-6)


def test_no_bit_depends_on_the_block(folder: Path, tmp_path: Path) -> None:
    worker, videos = worker_of(folder, tmp_path / "out.parquet"), corpus(folder)[1:4]
    together = worker.outcomes(videos)
    assert together == [worker.outcomes([video])[0] for video in videos]


def test_only_new_and_changed_videos_are_done(folder: Path, tmp_path: Path) -> None:
    worker = worker_of(folder, tmp_path / "out.parquet")
    first, second, *_ = corpus(folder)[1:]
    assert [outcome.video for outcome in worker.work([first])] == [first]
    assert [outcome.video for outcome in worker.work([first, second])] == [second]
    changed = replace(first, modified_ns=first.modified_ns + 1)
    assert [outcome.video for outcome in worker.work([changed, second])] == [changed]
    parts = Parts(tmp_path / "out.parquet")
    assert parts.status(first) is None and parts.status(changed) == "done"
    parts.path(second).write_bytes(parts.path(second).read_bytes()[:-20])
    assert [outcome.video for outcome in worker.work([changed, second])] == [second]


def test_a_video_that_ends_workers_is_given_up(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, videos = worker_of(folder, tmp_path / "out.parquet"), corpus(folder)[1:4]
    whole = worker.outcomes

    def ends(block: list[CorpusVideo]) -> list[Outcome]:
        if videos[1] in block:
            raise SystemExit
        return whole(block)

    monkeypatch.setattr(worker, "outcomes", ends)
    for _ in range(3):
        with pytest.raises(SystemExit):
            worker.work(videos)
    outcomes = worker.work(videos)
    parts = Parts(tmp_path / "out.parquet")
    assert [parts.status(video) for video in videos] == ["done", "failed", "done"]
    (given_up,) = (outcome for outcome in outcomes if outcome.status == "failed")
    assert given_up.error is not None and "3 workers ended while they were at " in given_up.error
    assert not list(parts.folder.rglob("*.tries"))


def test_requests_that_cannot_be_carried_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_require_packages", lambda: None)
    monkeypatch.setattr("asl_fast.corpus.cluster.started", None)  # nothing is started
    output = tmp_path / "out.parquet"

    def refused(*changes: str) -> str:
        given = words(folder, output)
        options = dict(zip(given[::2], given[1::2], strict=True)) | dict(zip(changes[::2], changes[1::2], strict=True))
        assert batch.main([word for option in options.items() for word in option]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and not output.exists()
        return error

    assert "finds no video" in refused("--input", str(tmp_path / "**"))
    assert "1 file of other kinds" in refused("--input", str(folder / "videos" / "*.txt"))
    assert "run folder nowhere does not exist" in refused("--run", "nowhere").replace(str(Path.cwd()) + "/", "")
    assert "--block must lie between 1 and 4096" in refused("--block", "0")
    assert "does not exist" in refused("--output", str(tmp_path / "none" / "out.parquet"))
    content = load_checkpoint(RunFolder(folder / "run").last)
    content["dataset"]["manifest"]["extraction"] = None
    save_checkpoint(tmp_path / "unknown.pt", {key: content[key] for key in content if key not in ("format", "digest")})
    assert "does not say how its features were extracted" in refused("--run", str(tmp_path / "unknown.pt"))
    Parts(output).claim({**worker_of(folder, output).identity, "checkpoint": "other"})
    assert "holds detections of another run (checkpoint differs)" in refused()
    shutil.rmtree(tmp_path / "out.parquet.parts")
    output.touch()
    assert batch.main(words(folder, output)) == 2
    assert "says whose detections it holds" in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "find_spec", lambda name: None)
    assert batch.main(words(folder, tmp_path / "out.parquet")) == 2
    assert "pip install 'asl-fast[ray]'" in capsys.readouterr().err


@needs_ray
@pytest.mark.slow
def test_nothing_is_lost_or_twice_when_a_worker_is_killed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # it lets workers wait for everything else on a busy machine
    output = tmp_path / "out.parquet"
    killed: list[int] = []

    def kill_half_way() -> None:
        parts = Parts(output).folder
        while not list(parts.rglob("*.parquet")):
            time.sleep(0.01)
        killed.extend(_workers(os.getpid())[:1])
        for process in killed:
            os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=kill_half_way, daemon=True)
    thread.start()
    assert batch.main(words(folder, output)) == 1
    thread.join(timeout=10)
    assert len(killed) == 1
    check_whole(folder, rows_of(output))
    before = output.read_bytes()
    # Again, with nothing to do: no cluster is started.
    capsys.readouterr()
    assert batch.main(words(folder, output)) == 1
    assert "6 of them done before" in capsys.readouterr().out
    assert output.read_bytes() == before


@needs_ray
@pytest.mark.slow
def test_nothing_is_lost_or_twice_when_a_machine_of_a_cluster_is_gone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    for name, value in (("worker_niceness", "0"), ("USAGE_STATS_ENABLED", "0")):
        monkeypatch.setenv(f"RAY_{name}", value)
    machine = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    second = cluster.add_node(**machine)
    output = tmp_path / "out.parquet"
    request = [*words(folder, output), "--address", cluster.address]
    begun: list[int] = []

    def lose_half_way() -> None:
        parts = Parts(output).folder
        while not (done := list(parts.rglob("*.parquet"))):
            time.sleep(0.01)
        begun.append(len(done))
        cluster.remove_node(second, allow_graceful=False)

    thread = threading.Thread(target=lose_half_way, daemon=True)
    thread.start()
    try:
        # With 1 machine left there is room for 1 worker, which does what the other had been given.
        assert batch.main(request) == 1
        thread.join(timeout=10)
    finally:
        cluster.shutdown()
    assert len(begun) == 1 and begun[0] < len(corpus(folder))
    check_whole(folder, rows_of(output))
    capsys.readouterr()
    assert batch.main(request) == 1
    assert "6 of them done before" in capsys.readouterr().out


def _workers(ancestor: int) -> list[int]:
    """Return the processes below one that are workers of a data set."""
    parents, names = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(place.name)] = (place / "cmdline").read_bytes()
        except OSError:  # ended meanwhile
            continue

    def below(process: int) -> bool:
        while process in parents and process != ancestor:
            process = parents[process]
        return process == ancestor

    workers = [process for process, name in names.items() if name.startswith(b"ray::") and b"_Actor" in name]
    return [process for process in workers if below(process)]


def test_the_table_of_stages_says_what_bounds_it() -> None:
    took = {"decoding": 4.0, "backbone": 1.0, "detector": 1.0, "all, as a worker": 5.0}
    lines = table(took, 40.0, 1, {name: 0.5 for name in took})
    assert lines[1].split() == ["decoding", "4.000", "0.500", "10.0"]
    assert lines[-2] == "decoding bounds it: a worker with 1 cores reaches 80% of the speed of decoding alone"
    assert "decoding takes 2.0 times as long as the rest" in lines[-1]
    took = {"decoding": 1.0, "backbone": 4.0, "detector": 1.0, "all, as a worker": 4.0}
    lines = table(took, 40.0, 2, took)
    assert lines[-1] == "backbone bounds it: a worker with 2 cores reaches 100% of the speed of backbone alone"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "256.1.1.1:1", "127.0.0.1:99999"])
def test_an_address_at_which_nobody_listens(address: str) -> None:
    """Ray alone would wait for minutes."""
    with pytest.raises(ConnectionError, match=f"--address {address}: no cluster of Ray is there"), started(address):
        pass
