# SPDX-License-Identifier: Apache-2.0
"""The training loop, from top to bottom: `train` runs epochs of steps, the rest serves them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asl_fast.data.bundle import DatasetBundle
from asl_fast.evaluation.protocols import ProtocolResult, evaluate_protocol, run_protocol
from asl_fast.models.content import first_non_finite
from asl_fast.serialization import to_dict
from asl_fast.training.callback import Callback, RunStart
from asl_fast.training.checkpoint import rng_state, save_checkpoint, seed_everything
from asl_fast.training.config import TrainConfig
from asl_fast.training.constant_heads import constant_heads, head_spread
from asl_fast.training.distributed import Processes, uses_bf16
from asl_fast.training.epoch_line import EpochLines
from asl_fast.training.graph import choose_step
from asl_fast.training.initial import Start
from asl_fast.training.loader import TrainLoader
from asl_fast.training.loggers.audience import Audience
from asl_fast.training.loggers.known import make_loggers
from asl_fast.training.metrics_log import MetricsLog, epoch_record, evaluation_record, progress_bar
from asl_fast.training.profile import StepProfiler
from asl_fast.training.replace_run import drop_replaced
from asl_fast.training.resume import resume_run
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.schedule import WarmupCosine, make_rates
from asl_fast.training.scoring import Columns, frame_borders, ground_truth_columns, predict
from asl_fast.training.state import TrainingState, TrainingStep, ragged_targets
from asl_fast.training.step import Step, TrainStep


class NonFiniteLossError(ArithmeticError):
    """A loss or the gradient became NaN or infinite."""


@dataclass(frozen=True)
class Result:
    """What training ends with.

    Attributes:
        state: The trained weights and their average.
        predictions: Detections in the test split with the averaged weights, as `predict` gives them.
        scores: How good these are.
    """

    state: TrainingState
    predictions: Columns
    scores: ProtocolResult


def train(
    config: TrainConfig,
    bundle: DatasetBundle,
    folder: RunFolder,
    processes: Processes,
    *,
    dataset_record: dict[str, Any],
    resume: bool = False,
    start: Start | None = None,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train a detector, writing checkpoints and metrics into the run folder after every epoch.

    Args:
        config: The run, with the model's inputs and outputs as the data set has them.
        bundle: The data set; its training split is iterated over, its test split scored.
        folder: Where to write; it exists and is writable.
        processes: The processes of this run.
        dataset_record: Saved in every checkpoint, so that detection needs no data set.
        resume: Continue from the folder's last checkpoint where there is one.
        start: What the detector starts from, where that is not chance.
        callbacks: Who else is told how the run goes, beside the loggers of the configuration.

    Raises:
        ValueError: When a logger cannot start.
        NonFiniteLossError: When training diverges.
        CheckpointError: When the checkpoint does not fit the configuration.
        OSError: When the disk does not take a file.
    """
    # Every process starts from the same weights, and from then on draws random numbers of its own.
    seed_everything(config.seed)
    state = TrainingState(config, processes.device)
    seed_everything(config.seed + 1000003 * processes.rank)
    folder.check_space(state.num_bytes())
    videos_per_step = config.batch_size * processes.world_size
    if processes.from_main(resume and folder.last.exists()):
        with processes.working():
            videos_per_step = resume_run(state, folder, config, processes, dataset_record)
    elif start is not None:
        for detector in (state.detector, state.average.module):
            detector.load_state_dict(start.weights, strict=False)

    loader = TrainLoader(
        bundle.train,
        config.data,
        videos_per_step // processes.world_size,
        seed=config.seed,
        length_multiple=state.detector.length_multiple,
        rank=processes.rank,
        world_size=processes.world_size,
        device=processes.device,
    )
    schedule = WarmupCosine(
        config.warmup_epochs * len(loader), config.total_epochs * len(loader), config.optimizer.min_lr
    )
    autocast = uses_bf16(config.precision, processes.device)
    if config.compile:
        # The detector alone: its shapes are few, while the number of actions differs from batch to batch.
        state.detector.compile()
    module = processes.wrap(TrainingStep(state.detector, state.loss, autocast=autocast))
    step = TrainStep(state, module, make_rates(schedule, state), config.optimizer.clip_norm)
    take_step = choose_step(step, config.graph, processes)
    profiler = StepProfiler(config.profile if processes.is_main else 0, folder, processes.device)
    if processes.is_main and loader.resident is not None:
        where = "in memory" if loader.resident.device.type == "cpu" else f"on {loader.resident.device}"
        print(f"  the features of {len(bundle.train)} training videos lie {where}", flush=True)

    predictions, scores = None, None
    lines = EpochLines(state.epoch, config.total_epochs)
    with _audience(config, state, folder, processes, callbacks) as audience:
        while state.epoch < config.total_epochs:
            started = time.perf_counter()
            module.train()
            records, spread, padding = _train_one_epoch(config, state, take_step, loader, schedule, profiler, processes)
            state.epoch += 1
            means = epoch_record(records, padding, time.perf_counter() - started)
            epoch = means | spread
            records.append(epoch)
            scores = None
            if _evaluation_is_due(config, state.epoch):
                predictions, scores = _evaluate(config, state, bundle, processes)
                records.append(evaluation_record(epoch, scores))
            if audience is not None:
                # Before the checkpoint: a run that is killed in between tells these again, and none is ever lost.
                audience.log(records)
            _save(config, state, folder, processes, dataset_record, videos_per_step, scores)
            if processes.is_main:
                for line in (lines.line(means, scores), *constant_heads(spread, state.epoch)):
                    print(line, flush=True)
    if predictions is None or scores is None:
        # The run had finished before it was resumed.
        predictions, scores = _evaluate(config, state, bundle, processes)
    return Result(state, predictions, scores)


def _audience(
    config: TrainConfig, state: TrainingState, folder: RunFolder, processes: Processes, callbacks: Sequence[Callback]
) -> AbstractContextManager[Audience | None]:
    """Gather who is told how the run goes; nobody in processes but the first."""
    if not processes.is_main:
        return nullcontext()
    log = MetricsLog(folder.metrics, first_epoch=state.epoch)
    run = RunStart(config, folder, state.epoch, state.step)
    return Audience(log, [*make_loggers(config.loggers), *callbacks], run)


def _train_one_epoch(
    config: TrainConfig,
    state: TrainingState,
    take_step: Step,
    loader: TrainLoader,
    schedule: WarmupCosine,
    profiler: StepProfiler,
    processes: Processes,
) -> tuple[list[dict[str, Any]], dict[str, float], float]:
    """Pass over the training split once.

    Returns:
        A record per step, what `head_spread` finds in the last batch, and the share of padding in all grid steps.
    """
    first_step = state.step
    padded = num_steps = 0
    names: tuple[str, ...] = ()
    full_rate = state.optimizer.param_groups[0]["base_lr"]
    rates: list[float] = []
    waiting: list[Tensor] = []  # numbers of the latest steps, still on the device
    rows: list[list[float]] = []  # numbers of the steps before
    bar = progress_bar(
        profiler.watched(loader.epoch(state.epoch), len(loader)),
        total=len(loader),
        name=f"epoch {state.epoch + 1}/{config.total_epochs}",
        shown=processes.is_main,
    )
    for batch in bar:
        rates.append(schedule.rate(state.step, full_rate))
        padded, num_steps = padded + batch.num_padded, num_steps + batch.mask.numel()
        names, numbers = take_step(batch.features, batch.mask, ragged_targets(batch))
        waiting.append(numbers)
        if len(waiting) == config.log_every:
            rows += _fetch(waiting, names, state)
            bar.set_postfix(loss=f"{rows[-1][names.index('total')]:.3f}", refresh=False)
    rows += _fetch(waiting, names, state)
    records = [
        {"kind": "step", "epoch": state.epoch, "step": first_step + i, "lr": rate} | dict(zip(names, row, strict=True))
        for i, (rate, row) in enumerate(zip(rates, rows, strict=True))
    ]
    autocast = uses_bf16(config.precision, processes.device)
    spread = head_spread(state.detector, batch.features, batch.mask, autocast=autocast)
    padded, num_steps = (sum(counts) for counts in zip(*processes.gather((padded, num_steps)), strict=True))
    return records, spread, padded / num_steps


def _fetch(waiting: list[Tensor], names: tuple[str, ...], state: TrainingState) -> list[list[float]]:
    """Bring the numbers that wait on the device to the host and empty the list.

    Raises:
        NonFiniteLossError: Naming the first step with a number that is NaN or infinite.
    """
    if not waiting:
        return []
    table = torch.stack(waiting).cpu()
    bad = (~table.isfinite().all(1)).nonzero()
    if len(bad):
        row = int(bad[0])
        step = state.step - len(waiting) + row
        shown = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, table[row].tolist(), strict=True))
        raise NonFiniteLossError(
            f"training diverged at step {step} in epoch {state.epoch + 1}: {shown}. The checkpoint of the epoch before "
            "is kept. Try a lower --optimizer.lr, a longer --warmup-epochs, or --precision fp32"
        )
    waiting.clear()
    rows: list[list[float]] = table.tolist()
    return rows


def _evaluation_is_due(config: TrainConfig, epoch: int) -> bool:
    every = config.evaluation.every
    return epoch == config.total_epochs or (every > 0 and epoch % every == 0)


def _evaluate(
    config: TrainConfig, state: TrainingState, bundle: DatasetBundle, processes: Processes
) -> tuple[Columns, ProtocolResult]:
    """Detect in the test split with the averaged weights, and score what is found."""
    predictions = predict(
        state.average.module,
        bundle.test,
        config.inference,
        batch_size=config.evaluation.batch_size,
        autocast=uses_bf16(config.precision, processes.device),
        processes=processes,
    )
    videos = bundle.test.videos
    protocol = run_protocol(config.dataset, vars(config.evaluation))
    names = [video.id for video in videos]
    truth, borders = ground_truth_columns(videos), frame_borders(videos)
    with processes.working():
        scores = evaluate_protocol(protocol, truth, predictions, videos=names, borders_sec=borders)
    return predictions, scores


def _save(
    config: TrainConfig,
    state: TrainingState,
    folder: RunFolder,
    processes: Processes,
    dataset_record: dict[str, Any],
    videos_per_step: int,
    scores: ProtocolResult | None,
) -> None:
    """Write the checkpoints of an epoch, the best one first.

    A run that is killed in between repeats the epoch and writes the same best one again.

    Raises:
        NonFiniteLossError: When the last step of the epoch made a weight NaN or infinite; nothing is written then.
    """
    for part, module in state.modules.items():
        if found := first_non_finite(module.state_dict(), part):
            raise NonFiniteLossError(
                f"training diverged in epoch {state.epoch}: {found}. The checkpoint of the epoch before is kept. Try a "
                "lower --optimizer.lr, a longer --warmup-epochs, or --precision fp32"
            )
    improved = False
    if scores is not None and (state.best_map is None or scores.average_map > state.best_map):
        improved = True
        state.best_map, state.best_epoch = scores.average_map, state.epoch
    rng = processes.gather(rng_state())
    if processes.is_main:
        folder.remove_results()
        content = state.state_dict() | {
            "config": to_dict(config),
            "dataset": dataset_record,
            "videos_per_step": videos_per_step,
            "rng": rng,
        }
        with processes.working():
            if improved:
                save_checkpoint(folder.best, content)
            save_checkpoint(folder.last, content)
            drop_replaced(folder)
    # No process goes on before the files are there.
    processes.gather(None)
