# SPDX-License-Identifier: Apache-2.0
"""The loggers that ``--logger`` takes, and whether what they need is installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from asl_fast.wording import nearest

LOGGERS: dict[str, str | None] = {
    "tensorboard": "torch.utils.tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "csv": None,
}
"""By name the module that has to be there; the extra that installs it has the logger's name."""


def parse_loggers(text: str) -> tuple[str, ...]:
    """Read ``tensorboard,csv``; empty text is none.

    Raises:
        ValueError: For an unknown logger, with the nearest known one.
    """
    found = [word.strip() for word in text.split(",") if word.strip()]
    for name in found:
        if name not in LOGGERS:
            raise ValueError(f"logger {name!r} is unknown; {nearest(name, LOGGERS)}")
    return tuple(dict.fromkeys(found))


def check_installed(names: Iterable[str]) -> None:
    """Import what loggers need.

    Raises:
        ValueError: Naming the logger whose package is missing or broken, and how to install it.
    """
    for name in names:
        module = LOGGERS[name]
        if module is None:
            continue
        try:
            importlib.import_module(module)
        except ImportError as error:
            top = {name, module}
            why = "is not installed" if error.name is None or error.name in top else f"cannot be imported ({error})"
            raise ValueError(
                f"--logger {name}: {name} {why}: pip install 'asl-fast[{name}]', or leave {name} out of --logger"
            ) from None
