# SPDX-License-Identifier: Apache-2.0
"""N processes with b videos each train the detector that one process trains with N b, whichever of them goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.training.checkpoint import load_checkpoint
from asl_fast.training.config import TrainConfig
from asl_fast.training.distributed import Processes, start_processes
from asl_fast.training.loop import train
from asl_fast.training.metrics_log import read_metrics
from asl_fast.training.run_folder import RunFolder
from tests.torchrun import torchrun
from tests.training.tiny import CPU, tiny_bundle, tiny_config

VIDEOS, PROCESSES, EPOCHS = 25, 3, 3  # one batch of an epoch has one video for three processes
BATCHES = 9


def config(processes: int, epochs: int) -> TrainConfig:
    """Three videos of like length a step, without dropout, of which every process has its own."""
    made = tiny_config(epochs=epochs - 1, batch_size=PROCESSES // processes)
    model = replace(made.model, dropout=0.0, drop_path=0.0)
    return replace(made, model=model, data=replace(made.data, pad_multiple=8))


def bundle() -> DatasetBundle:
    """Videos of which crops of many lengths are cut."""
    made = tiny_bundle(VIDEOS)
    return replace(made, train=made.train.with_options(crop_ratio=(0.3, 1.0)))


def work(folder: Path, epochs: int) -> None:
    """Train as one of several processes."""
    torch.set_num_threads(1)
    processes = start_processes("cpu")
    run = RunFolder(folder)
    if processes.is_main:
        run.create()
    processes.meet()
    result = train(config(PROCESSES, epochs), bundle(), run, processes, dataset_record={})
    assert len(set(processes.gather(float(result.scores.average_map)))) == 1
    processes.close()


def padding(folder: RunFolder) -> float:
    """Share of padding in the first epoch, of all processes together; every process pads its own videos."""
    found: float = next(each["padding"] for each in read_metrics(folder.metrics) if each["kind"] == "epoch")
    return found


def launch(folder: Path, epochs: int) -> str:
    code = f"from pathlib import Path; from {__name__} import work; work(Path({str(folder)!r}), {epochs})"
    return torchrun(code, folder.with_suffix(".py"), processes=PROCESSES).stderr


def assert_same(one: RunFolder, other: RunFolder) -> None:
    ours, theirs = load_checkpoint(one.last), load_checkpoint(other.last)
    for key in ("epoch", "step", "videos_per_step"):
        assert ours[key] == theirs[key]
    assert ours["step"] == BATCHES * EPOCHS > 20
    for part in ("detector", "loss"):
        for name, tensor in ours[part].items():
            torch.testing.assert_close(
                tensor, theirs[part][name], rtol=2e-4, atol=2e-5, msg=lambda m, n=f"{part}.{name}": f"{n}: {m}"
            )


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_three_processes_train_what_one_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = {name: RunFolder(tmp_path / name) for name in ("alone", "several", "half")}
    folders["alone"].create()
    alone = train(config(1, EPOCHS), bundle(), folders["alone"], CPU, dataset_record={})

    said = launch(folders["several"].path, EPOCHS)
    assert "Warning" not in said
    assert_same(folders["several"], folders["alone"])
    assert 0 < padding(folders["several"]) < padding(folders["alone"]) < 0.2

    # One process goes on where three stopped.
    launch(folders["half"].path, EPOCHS // 2)
    capsys.readouterr()
    resumed = train(config(PROCESSES, EPOCHS), bundle(), folders["half"], CPU, dataset_record={}, resume=True)
    assert "1 process in the place of 3, which together take 3 videos a step as before" in capsys.readouterr().out
    # The rate of the first epochs followed a shorter cosine, so this is another run; all else is as it was.
    assert load_checkpoint(folders["half"].last)["step"] == BATCHES * EPOCHS
    assert load_checkpoint(folders["half"].last)["videos_per_step"] == PROCESSES
    assert resumed.scores.average_map == pytest.approx(alone.scores.average_map, abs=0.2)


class ToldTwo(Processes):
    """One process that takes itself for the first of two."""

    def from_main(self, value: Any) -> Any:
        return value


def test_a_number_of_processes_that_does_not_divide_the_step(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    three = tiny_config(epochs=0, batch_size=3)
    train(three, tiny_bundle(), folder, CPU, dataset_record={})
    with pytest.raises(ValueError, match="1 process that took 3 videos a step, which 2 processes cannot share out"):
        train(
            replace(three, epochs=1),
            tiny_bundle(),
            folder,
            ToldTwo(CPU.device, world_size=2),
            dataset_record={},
            resume=True,
        )
