# SPDX-License-Identifier: Apache-2.0
"""A whole run: load the data, train, score, write the results and say what to do next."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from asl_fast.command_line.errors import CommandError, Stopped
from asl_fast.command_line.program import program
from asl_fast.data.bundle import DatasetBundle
from asl_fast.evaluation.table import result_table
from asl_fast.files import read_json, write_json
from asl_fast.serialization import to_dict
from asl_fast.training.callback import Callback
from asl_fast.training.checkpoint import check_same_data
from asl_fast.training.config import TrainConfig
from asl_fast.training.data import describe_dataset, load
from asl_fast.training.description import write_description
from asl_fast.training.distributed import Processes, lost_peer, start_processes
from asl_fast.training.heartbeat import PeerHangsError
from asl_fast.training.initial import starting_weights
from asl_fast.training.loggers.names import check_installed
from asl_fast.training.loop import Result, train
from asl_fast.training.replace_run import replace_run, waiting_run
from asl_fast.training.request import Request
from asl_fast.training.results import write_results
from asl_fast.training.run_folder import RunFolder, already_holds_a_run
from asl_fast.training.run_lock import RunLock
from asl_fast.wording import count, printable


def run(request: Request, arguments: Sequence[str], *, callbacks: Sequence[Callback] = ()) -> None:
    """Carry out a request for training: load the data, train, score, and write the results into the run folder.

    Args:
        request: What `asl_fast.training.request.parse` made of the command line.
        arguments: Its words, for the record.
        callbacks: Who is told how the run goes, beside the loggers of the request.

    Raises:
        ValueError, OSError, ImportError: For a request that cannot be carried out.
        NonFiniteLossError: Where training failed.
        Stopped: After Ctrl-C, with how to go on.
        CommandError: When another process of the same run died, with how to go on.
    """
    lock: RunLock | None = None
    try:
        config = request.config
        if config.threads:
            torch.set_num_threads(config.threads)
        processes = start_processes(config.device, limit_sec=config.process_timeout_sec)
        request = processes.from_main(request)
        folder = request.folder
        check_installed(request.config.loggers)
        with processes.working():
            bundle = load(request.config)
        config = request.config.with_dataset(feature_dim=bundle.feature_dim, num_classes=bundle.num_classes)
        config.model.validate()
        goes_on = processes.from_main(request.resume and folder.last.exists())
        with processes.working():
            start = None if goes_on else starting_weights(config, bundle.class_names)
            record = describe_dataset(bundle) if processes.is_main else {}
        record = processes.from_main(record)
        if request.save_preset is not None and processes.is_main:
            write_json(request.save_preset, to_dict(dataclasses.replace(request.config, output=None)), indent=2)
        if processes.is_main:
            lock = _claim(request, record)
            changes = write_description(folder, config, record, arguments, processes)
            _announce(request, config, bundle, processes, changes if goes_on else [start.line] if start else [])
        if config.compile:
            # Of this run alone, and gone with its folder.
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.fspath(folder.compiled.resolve()))
        result = train(
            config, bundle, folder, processes, dataset_record=record, resume=goes_on, start=start, callbacks=callbacks
        )
        if processes.is_main:
            write_results(folder, config, bundle, result)
            _conclude(request, config, bundle, result)
        processes.close()
    except KeyboardInterrupt:
        raise Stopped(*_how_to_go_on(request.folder)) from None
    except RuntimeError as error:
        if not lost_peer(error):
            raise
        what = f"hangs ({error})" if isinstance(error, PeerHangsError) else "ended or hangs"
        message = f"another process of this run {what}, so this one cannot go on"
        raise CommandError("; ".join([message, *_how_to_go_on(request.folder)]), status=1) from None
    finally:
        if lock is not None:
            lock.release()


def _how_to_go_on(folder: RunFolder) -> list[str]:
    """Return what Ctrl-C leaves of a run, and the command that takes it up; nothing before the folder was made."""
    if not folder.holds_a_run:
        return []
    resume = shlex.join([*_launcher(), "--resume", "--output", str(folder.path)])
    kept = "finished epochs are kept" if folder.last.exists() else "no epoch was finished"
    return [f"{kept}; continue with: {resume}"]


def _launcher() -> list[str]:
    """Return the words by which this run was started."""
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number == 1:
        return program("train").split()
    return ["torchrun", "--nproc-per-node", str(number), "-m", "asl_fast.train"]


def _check_same_data(folder: RunFolder, record: dict[str, Any]) -> None:
    """Check that a resumed run goes on with the data it began with, before anything is written.

    Raises:
        CheckpointError: Naming in what the data sets differ.
        ValueError: Naming the file that says what the run began with, where that cannot be read.
    """
    if not folder.dataset.exists():
        return
    saved = read_json(folder.dataset)
    if not isinstance(saved, dict):
        raise ValueError(f"{folder.dataset} must hold keys and values, found {saved!r:.60}; remove the file")
    if not check_same_data(saved, record, folder.path):
        print(
            f"  {folder.path} has no fingerprint of its data (an older version wrote it): they are taken to be the same"
        )


def _claim(request: Request, record: dict[str, Any]) -> RunLock:
    """Take the run folder for this process alone, as it shall be when training begins.

    Raises:
        RunFolderError: When another process writes there, or the folder holds a run that must not be replaced.
        CheckpointError: When a resumed run began with other data.
    """
    folder = request.folder
    folder.make()
    lock = RunLock(folder.path)
    try:
        if request.resume:
            _check_same_data(folder, record)
        elif request.overwrite:
            lock = replace_run(folder, lock)
        elif folder.holds_a_run:
            # Another process was faster.
            raise already_holds_a_run(folder)
        folder.create()
    except BaseException:
        lock.release()
        raise
    return lock


def _announce(
    request: Request, config: TrainConfig, bundle: DatasetBundle, processes: Processes, lines: Sequence[str]
) -> None:
    print(f"asl_fast: {config.dataset}: {'' if bundle.synthetic else 'real data: '}{bundle.description}")
    for line in request.explanation:
        print(printable(f"  {line}".rstrip()))
    print(
        f"  run folder {request.folder.path}, {len(bundle.train)} training and "
        f"{count(len(bundle.test), 'test video')}, {count(config.total_epochs, 'epoch')} on "
        f"{processes.world_size} x {processes.device}, seed {config.seed}"
    )
    if folder := waiting_run(request.folder):
        print(f"  the run before is kept in {folder} until the first epoch of this one is saved")
    left_out = Counter(bundle.metadata.get("skipped", {}).values())
    if left_out:
        kinds = ", ".join(f"{times} x {kind}" for kind, times in left_out.items())
        number = sum(left_out.values())
        are = "is" if number == 1 else "are"
        print(f"  {count(number, 'video')} {are} left out: {kinds}; --strict stops at the first")
    clipped, dropped = bundle.train.num_clipped, bundle.train.num_dropped
    if clipped or dropped:
        print(
            f"  training targets: {count(clipped, 'segment')} cut at the ends of their video, {dropped} empty or "
            "outside and not used; scoring takes them as they are"
        )
    if request.resume:
        last = request.folder.last
        print(f"  resuming from {last}" if last.exists() else "  nothing to resume from yet, starting at epoch 1")
    for line in lines:
        print(f"  {line}")


def _conclude(request: Request, config: TrainConfig, bundle: DatasetBundle, result: Result) -> None:
    folder = request.folder
    print()
    print(result_table(result.scores))
    print(f"\nresults in {folder.path}")
    if request.size not in (None, "full"):
        print(f"this was the {request.size!r} preset; the published size: --preset full")
    if bundle.synthetic:
        print(f"this was synthetic data; on your own: {program('train')} --dataset {config.dataset} --data-root DIR")
    print(f"next: {program('evaluate')} --run {folder.path}")
    print(f"      {program('detect')} --run {folder.path} --features FILE_OR_DIR --output detections.json")
