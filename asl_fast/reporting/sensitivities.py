# SPDX-License-Identifier: Apache-2.0
"""What a run learned of each class's sensitivity, beside what its synthetic twin has planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asl_fast.losses.sensitivity import ClassGaussians
from asl_fast.training.checkpoint import CheckpointError, load_checkpoint, saved_config
from asl_fast.training.restoring import check_keys
from asl_fast.training.run_folder import RunFolder

COLUMNS = ("class", "start", "end")


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Centres and widths of Gaussians over the position inside an action.

    Attributes:
        mu: (C, 3) float64, columns as ``COLUMNS``, in instance lengths from the instance's centre.
        sigma: (C, 3) float64, the same columns, in instance lengths.
    """

    mu: NDArray[np.float64]
    sigma: NDArray[np.float64]

    def curves(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sensitivity of each class in (0, 1] at positions (P,) in instance lengths from the centre -> (C, 3, P)."""
        scaled = (position - self.mu[..., None]) / self.sigma[..., None]
        return np.asarray(np.exp(-(scaled**2) / 2))


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """What a run learned, beside the truth where there is one.

    Attributes:
        class_names: Of the C classes.
        trained: (C,) bool, the classes that occurred in training; all others are where they began.
        learned: What training found.
        planted: What the synthetic twin hides in its features; None for real recordings.
    """

    class_names: tuple[str, ...]
    trained: NDArray[np.bool_]
    learned: Gaussians
    planted: Gaussians | None


def sensitivities(run: str | Path) -> Sensitivities | None:
    """Read the Gaussians of a run's last checkpoint.

    Args:
        run: Folder of a run.

    Returns:
        None where the run trained no Gaussians.

    Raises:
        FileNotFoundError: For a folder without a checkpoint.
        CheckpointError: For a damaged checkpoint, or one whose parts do not belong together.
    """
    path = RunFolder(run).last
    content = load_checkpoint(path)
    check_keys(content, ("config", "dataset", "loss"), path)
    config = saved_config(content, path)
    loss, classes = config.loss, config.model.num_classes
    prefix = "gaussians."
    state = {name[len(prefix) :]: value for name, value in content["loss"].items() if name.startswith(prefix)}
    if not state or not loss.class_level:
        return None
    names = content["dataset"].get("class_names")
    if not isinstance(names, list | tuple) or len(names) != classes:
        raise CheckpointError(f"{path}: 'dataset.class_names' must name {classes} classes, found {names!r:.60}")
    bounds = {name: getattr(loss, name) for name in ("mu_bound", "sigma_min", "sigma_max")}
    gaussians = ClassGaussians(classes, **bounds)
    try:
        gaussians.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its sensitivities cannot be used: {' '.join(str(error).split())}") from None
    with torch.no_grad():
        learned = Gaussians(gaussians.mu.double().numpy(), gaussians.sigma.double().numpy())
    planted: dict[str, Any] | None = content["dataset"].get("metadata", {}).get("planted")
    return Sensitivities(
        tuple(map(str, names)),
        (gaussians.mu_bias.detach() != 0).any(1).numpy(),
        learned,
        None if planted is None else Gaussians(np.asarray(planted["mu"]), np.asarray(planted["sigma"])),
    )
