# SPDX-License-Identifier: Apache-2.0
"""What a run was computed with, in the files of its folder, and what differs where it goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from asl_fast.command_line.program import program
from asl_fast.environment import describe
from asl_fast.files import write_json
from asl_fast.serialization import to_dict
from asl_fast.training.config import TrainConfig
from asl_fast.training.distributed import Processes
from asl_fast.training.run_folder import RunFolder, read_if_there


def write_description(
    folder: RunFolder, config: TrainConfig, record: dict[str, Any], arguments: Sequence[str], processes: Processes
) -> list[str]:
    """Write configuration, data set and environment into the run folder, which a run is reproduced from.

    Args:
        folder: Where to.
        config: The run.
        record: Its data set, as `asl_fast.training.data.describe_dataset` gives it.
        arguments: Words of the command line.
        processes: The processes of this run.

    Returns:
        Lines that name what is computed otherwise than when the run began; none for a new run.

    Raises:
        OSError: Naming the file that cannot be written.
    """
    environment = describe() | {
        "git": git_revision(),
        "command": [*program("train").split(), *arguments],
        "seed": config.seed,
        "synthetic": record["synthetic"],
        "device": str(processes.device),
        "processes": processes.world_size,
        "threads": torch.get_num_threads(),
        "inference_batch_size": config.evaluation.batch_size,
    }
    began = read_if_there(folder.environment)
    write_json(folder.environment, environment, indent=2)
    write_json(folder.dataset, record, indent=2)
    write_json(folder.config, to_dict(config), indent=2)
    return list(_other_bits(began, environment))


def _other_bits(began: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say which parts of an environment differ such that numbers are rounded otherwise."""

    def look_up(environment: Mapping[str, Any], path: str) -> Any:
        value: Any = environment
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    for name, path in (
        ("threads", "threads"),
        ("device", "device"),
        ("torch", "versions.torch"),
        ("compiled CPU operators", "native.available"),
        ("videos per batch in inference", "inference_batch_size"),
    ):
        before, after = look_up(began, path), look_up(now, path)
        if before is not None and before != after:
            yield (
                f"{name}: {before} before, {after} now; sums are rounded otherwise, so the result is not bit-identical "
                "to a run left alone"
            )


def git_revision() -> str | None:
    """Name the revision of the source tree that runs, with ``-dirty`` where it was changed; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            # Asking must not take the lock of the index, which the owner of the checkout may need.
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
