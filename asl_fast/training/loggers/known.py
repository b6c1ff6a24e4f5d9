# SPDX-License-Identifier: Apache-2.0
"""The loggers by their names."""

from __future__ import annotations

from collections.abc import Iterable

from asl_fast.training.callback import Callback
from asl_fast.training.loggers.to_csv import CsvLogger
from asl_fast.training.loggers.to_mlflow import MlflowLogger
from asl_fast.training.loggers.to_tensorboard import TensorBoardLogger
from asl_fast.training.loggers.to_wandb import WandbLogger

_CLASSES: dict[str, type[Callback]] = {
    each.name: each for each in (TensorBoardLogger, WandbLogger, MlflowLogger, CsvLogger)
}


def make_loggers(names: Iterable[str]) -> list[Callback]:
    """Make loggers, which open nothing yet."""
    return [_CLASSES[name]() for name in names]
