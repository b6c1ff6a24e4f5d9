# SPDX-License-Identifier: Apache-2.0
"""Steps that are recorded and replayed are those of the plain loop, bit for bit, and padding takes no part in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asl_fast.command_line.errors import CommandError
from asl_fast.losses import RaggedTargets
from asl_fast.models.config import FrontEndConfig
from asl_fast.training import graph
from asl_fast.training.config import TrainConfig
from asl_fast.training.distributed import Processes
from asl_fast.training.graph import CudaRecorder, GraphedStep, capacity_for, choose_step, padded
from asl_fast.training.loader import TrainLoader
from asl_fast.training.loop import train
from asl_fast.training.presets import VARIANTS, with_variant
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.schedule import DeviceRates, HostRates, WarmupCosine
from asl_fast.training.state import TrainingState, TrainingStep, ragged_targets
from asl_fast.training.step import Step, StepNumbers, TrainStep
from tests.training.test_resume import differences
from tests.training.tiny import CPU, tiny_bundle, tiny_config


class Replayer:
    """Stands in for CUDA graphs: a recording does nothing when made, and computes on the same buffers when replayed."""

    def __init__(self) -> None:
        self.recordings = 0

    def run(self, call: Callable[[], StepNumbers]) -> StepNumbers:
        return call()

    def record(self, call: Callable[[], StepNumbers]) -> tuple[StepNumbers, Callable[[], None]]:
        self.recordings += 1
        names: list[str] = []
        values = torch.zeros(8)

        def replay() -> None:
            found = call()
            names[:] = found.names
            values.copy_(found.values)

        return StepNumbers(NAMES, values), replay


NAMES = ("total", "cls", "loc", "sensitivity", "num_positives", "fit", "contrastive", "grad_norm")


def make_step(config: TrainConfig, *, on_device: bool = False, device: str = "cpu") -> TrainStep:
    """Make a step of a new state, with the numbers of a step from the host or from a table."""
    torch.manual_seed(0)
    state = TrainingState(config, torch.device(device))
    schedule = WarmupCosine(3, 12)
    module = TrainingStep(state.detector, state.loss, autocast=False).train()
    rates = DeviceRates(schedule, state) if on_device else HostRates(schedule, state)
    return TrainStep(state, module, rates, config.optimizer.clip_norm)


def batches(config: TrainConfig, epochs: int = 2) -> Iterator[tuple[Tensor, Tensor, RaggedTargets]]:
    """Batches of several lengths, the last of each epoch smaller; one video has no instance in its crop."""
    loader = TrainLoader(tiny_bundle(num_train=7).train, config.data, config.batch_size, seed=0, length_multiple=16)
    for epoch in range(epochs):
        for batch in loader.epoch(epoch):
            yield batch.features, batch.mask, ragged_targets(batch)


def take(
    step: Step,
    config: TrainConfig,
    change: Callable[[RaggedTargets], RaggedTargets] = lambda x: x,
    device: str = "cpu",
) -> Tensor:
    """Take all steps with the same draws; return what they measured."""
    torch.manual_seed(1)
    return torch.stack(
        [
            step(features.to(device), mask.to(device), change(targets).to(device)).values
            for features, mask, targets in batches(config)
        ]
    )


def junk(targets: RaggedTargets) -> RaggedTargets:
    """Add rows of no video that would claim every point, and whose frames would all be pooled."""
    more = padded(targets, 64)
    count = len(targets.labels)
    more.segments[count:] = torch.tensor([1.3, 38.7])
    more.labels[count:] = 1
    return more


MODEL = tiny_config().model
CONFIGS: dict[str, TrainConfig] = {
    **{variant: with_variant(tiny_config(), variant) for variant in VARIANTS},
    **{
        signal: replace(tiny_config(), loss=replace(tiny_config().loss, signal=signal))
        for signal in ("likelihood", "evidence")
    },
    **{
        levels: replace(
            tiny_config(),
            loss=replace(
                tiny_config().loss,
                contrastive_levels=levels,
                contrastive_memory=20,
                contrastive_positives="each",
                detach_quality_features=False,
            ),
        )
        for levels in ("finest", "assigned", "all")
    },
    "auto weight": replace(tiny_config(), loss=replace(tiny_config().loss, location_weight="auto")),
    "full attention": replace(
        tiny_config(), model=replace(MODEL, attention_windows=(0,), positions="absolute", dropout=0.1)
    ),
    "boundary bins": replace(tiny_config(), model=replace(MODEL, offset_bins=4, attention_sides="split")),
    "own blocks": replace(tiny_config(), model=replace(MODEL, head_blocks=1)),
    "front end": replace(tiny_config(), model=replace(MODEL, front_end=FrontEndConfig(2, (2,)), first_level=1)),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", CONFIGS)
def test_instances_of_no_video_take_no_part(name: str) -> None:
    plain, filled = make_step(CONFIGS[name]), make_step(CONFIGS[name])
    assert torch.equal(take(plain, CONFIGS[name]), take(filled, CONFIGS[name], junk))
    assert differences(plain.state.state_dict(), filled.state.state_dict()) == []


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("name", ["asl", "evidence", "assigned", "full attention"])
def test_replayed_steps_are_the_plain_ones(name: str, on_device: bool) -> None:
    config = CONFIGS[name]
    plain, recorded = (make_step(config, on_device=on_device) for _ in range(2))
    replayer = Replayer()
    step = GraphedStep(recorded, replayer)
    assert torch.equal(take(plain, config), take(step, config))
    assert differences(plain.state.state_dict(), recorded.state.state_dict()) == []
    # Two sizes of batch; every shape is recorded when it comes for the second time.
    assert 1 <= replayer.recordings == sum(found is not None for found in step.recorded.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CONFIGS)
def test_graphs_take_the_plain_steps_on_a_gpu(name: str) -> None:
    """With dropout and drop path drawn from the same places, and the generator left at the same place."""
    config = CONFIGS[name]
    plain, recorded = (make_step(config, on_device=True, device="cuda") for _ in range(2))
    step = GraphedStep(recorded, CudaRecorder())
    expected = take(plain, config, device="cuda")
    left_at = torch.cuda.get_rng_state()
    assert torch.equal(expected, take(step, config, device="cuda"))
    assert torch.equal(left_at, torch.cuda.get_rng_state())
    assert any(found is not None for found in step.recorded.values())
    assert differences(plain.state.state_dict(), recorded.state.state_dict()) == []


def test_rates_from_a_table_are_those_of_the_host() -> None:
    config = CONFIGS["asl"]
    host, device = make_step(config), make_step(config, on_device=True)
    for step in (host, device):
        take(step, config)
    # The table is float32, the numbers of the host float64. Where a gradient is zero but for rounding, Adam makes steps
    # of its sign of it.
    pairs = [(host.state.parameters, device.state.parameters)]
    pairs += [tuple(list(step.state.average.module.parameters()) for step in (host, device))]
    for ours, theirs in pairs:
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    schedule = WarmupCosine(3, 12)
    for number in range(12):
        rates = device.rates
        assert isinstance(rates, DeviceRates)
        rates.next_step.fill_(number)
        rates.advance()
        found = [float(group["lr"]) for group in device.state.optimizer.param_groups]
        assert found == pytest.approx(
            [schedule.rate(number, group["base_lr"]) for group in device.state.optimizer.param_groups]
        )


def test_a_checkpoint_of_one_continues_the_other() -> None:
    config = CONFIGS["asl"]
    host, device = make_step(config), make_step(config, on_device=True)
    take(device, config)
    host.state.load_state_dict(device.state.state_dict())
    # Every step sets the learning rates anew.
    assert all(".lr" in name for name in differences(host.state.state_dict(), device.state.state_dict()))
    assert all(isinstance(group["lr"], float) for group in host.state.optimizer.param_groups)
    again = make_step(config, on_device=True)
    again.state.load_state_dict(host.state.state_dict())
    # The learning rates are still those that the table writes.
    assert all(isinstance(group["lr"], Tensor) for group in again.state.optimizer.param_groups)


def test_the_graph_that_was_not_used_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_GRAPHS", 2)
    config = CONFIGS["plain"]
    step = GraphedStep(make_step(config), Replayer())
    for length in (16, 32, 16, 48, 16):
        targets = RaggedTargets(torch.tensor([[2.0, 9.0]]), torch.tensor([1]), torch.tensor([0, 1]))
        step(torch.randn(1, length, MODEL.feature_dim), torch.ones(1, length, dtype=torch.bool), targets)
    assert [shape.length for shape in step.recorded] == [48, 16]


@pytest.mark.parametrize(("instances", "capacity"), [(0, 64), (64, 64), (65, 128), (300, 512)])
def test_capacities_are_few(instances: int, capacity: int) -> None:
    assert capacity_for(instances) == capacity


class Refusing(Replayer):
    def record(self, call: Callable[[], StepNumbers]) -> tuple[StepNumbers, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_a_step_that_cannot_be_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    config = CONFIGS["plain"]
    plain, recorded = make_step(config), make_step(config)
    assert torch.equal(take(plain, config), take(GraphedStep(recorded, Refusing(), required=False), config))
    said = capsys.readouterr().out
    assert said.count("cannot be recorded as a CUDA graph, so it runs without: operation not permitted") == 1
    with pytest.raises(CommandError, match=r"operation not permitted when stream is capturing; --graph off"):
        take(GraphedStep(make_step(config), Refusing()), config)


def test_where_there_is_no_graph(capsys: pytest.CaptureFixture[str]) -> None:
    step = make_step(CONFIGS["plain"])
    for option, lines in (("auto", 0), ("off", 0), ("on", 1)):
        assert choose_step(step, option, CPU) is step
        assert capsys.readouterr().out.count("without --graph: a CUDA graph needs a GPU, and training runs on") == lines
    several = Processes(torch.device("cuda", 0), world_size=2)
    assert choose_step(step, "on", several) is step
    assert "averaged over 2 processes" in capsys.readouterr().out


def test_a_run_may_change_how_it_computes_when_it_is_resumed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    arguments: Any = (tiny_bundle(), folder, CPU)
    config = tiny_config()
    train(config, *arguments, dataset_record={})
    other = replace(config, graph="off", profile=2, data=replace(config.data, cache="device"))
    assert train(other, *arguments, dataset_record={}, resume=True).state.epoch == 3
