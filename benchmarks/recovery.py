# SPDX-License-Identifier: Apache-2.0
"""How well a run on a synthetic twin found the sensitivities that are planted there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from asl_fast.losses.sensitivity import ClassGaussians
from asl_fast.training.checkpoint import load_checkpoint
from asl_fast.training.run_folder import RunFolder

_COLUMNS = ("class", "start", "end")


def recovery(run: str | Path) -> dict[str, float] | None:
    """Correlate over classes what the Gaussians learned with what was planted.

    Args:
        run: Folder of a run.

    Returns:
        ``mu_class``, ``mu_start``, ``mu_end`` and ``sigma_class``, ``sigma_start``, ``sigma_end`` (of log sigma):
        correlations over the ``classes`` that occurred in training, all others being where they began. None where
        nothing was planted, no Gaussian was trained, or fewer than three classes occurred.
    """
    content = load_checkpoint(RunFolder(run).last)
    loss = content["config"]["loss"]
    planted = content["dataset"].get("metadata", {}).get("planted")
    prefix = "gaussians."
    learned = {name[len(prefix) :]: value for name, value in content["loss"].items() if name.startswith(prefix)}
    if planted is None or not learned or not loss["class_level"]:
        return None
    bounds = {name: loss[name] for name in ("mu_bound", "sigma_min", "sigma_max")}
    gaussians = ClassGaussians(content["config"]["model"]["num_classes"], **bounds)
    gaussians.load_state_dict(learned)
    trained = (learned["raw_mu"] != 0).any(1).numpy()
    if trained.sum() < 3:
        return None
    found: dict[str, float] = {"classes": int(trained.sum())}
    with torch.no_grad():
        values = {"mu": gaussians.mu.numpy(), "sigma": gaussians.sigma.log().numpy()}
    truth = {"mu": np.asarray(planted["mu"]), "sigma": np.log(np.asarray(planted["sigma"]))}
    for kind, table in values.items():
        for column, name in enumerate(_COLUMNS):
            pair = table[trained, column], truth[kind][trained, column]
            found[f"{kind}_{name}"] = float(np.corrcoef(*pair)[0, 1]) if pair[0].std() > 0 else 0.0
    return found
