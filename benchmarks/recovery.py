# SPDX-License-Identifier: Apache-2.0
"""How well what a run learned of each class's sensitivity fits what its synthetic twin has planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asl_fast.reporting.sensitivities import COLUMNS, sensitivities


def recovery(run: str | Path) -> dict[str, float] | None:
    """Correlate over classes what the Gaussians learned with what was planted.

    Args:
        run: Folder of a run.

    Returns:
        ``mu_class``, ``mu_start``, ``mu_end`` and ``sigma_class``, ``sigma_start``, ``sigma_end`` (of log sigma):
        correlations over the ``classes`` that occurred in training. None where nothing was planted, no Gaussian was
        trained, or fewer than three classes occurred.
    """
    found = sensitivities(run)
    if found is None or found.planted is None or found.trained.sum() < 3:
        return None
    result: dict[str, float] = {"classes": int(found.trained.sum())}
    pairs = {
        "mu": (found.learned.mu, found.planted.mu),
        "sigma": (np.log(found.learned.sigma), np.log(found.planted.sigma)),
    }
    for kind, (learned, planted) in pairs.items():
        for column, name in enumerate(COLUMNS):
            x, y = learned[found.trained, column], planted[found.trained, column]
            result[f"{kind}_{name}"] = float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 else 0.0
    return result
