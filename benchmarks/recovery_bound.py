# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.recovery_bound``: how well the planted sensitivities of a twin could be found at best.

The Cramér-Rao bound of an observer who knows everything of the training recordings but mu: the directions of the
evidence, its strength in every instance, sigma, the window of the features, and that the noise along a direction has
standard deviation 1. From the evidence s(mu) that an instance adds to the features,

    var(mu of a class) >= 1 / sum over its instances and frames of (d s / d mu)²,

and mu that are found with this error correlate with the true ones, whose standard deviation over classes is S, to about
S / sqrt(S² + error²). What training finds beyond that, nobody could; what it misses, the data hold all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.synthetic import features as evidence
from asl_fast.data.synthetic.twin import SCALES, make_twin
from asl_fast.reporting.sensitivities import COLUMNS

_STEP = 0.01  # of the numerical derivative, in instance lengths


def least_errors(bundle: DatasetBundle) -> NDArray[np.float64]:
    """Compute the least standard errors of mu.

    Args:
        bundle: A synthetic twin.

    Returns:
        (C, 3) in instance lengths, columns as ``COLUMNS``; infinite for classes without a training instance.
    """
    store = bundle.train.store
    assert isinstance(store, evidence.SyntheticFeatureStore)
    planted = store.planted
    information = np.zeros_like(planted.mu)
    peaks = (evidence.CLASS_GAIN, evidence.BOUNDARY_GAIN, evidence.BOUNDARY_GAIN)
    # The mean square of what multiplies the evidence: strength of the instance, blurred instances, blurred frames.
    blurred = evidence.BLUR_GAIN**2
    mean_square = np.exp(2 * evidence.GAIN_SPREAD**2)
    for share in (evidence.BLURRED_INSTANCES, evidence.BLURRED_FRAMES):
        mean_square *= 1 - share + share * blurred
    places = 2 * (np.arange(evidence.SUBFRAMES) + 0.5) / evidence.SUBFRAMES - 1
    for video in bundle.train.videos:
        steps = store.length(video.id)
        grid = store.manifest.extracted_grid(video, steps)
        time = np.arange(steps)[:, None] + grid.reach_grid * places
        for (start, stop), label in zip(grid.to_grid(video.segments_sec).tolist(), video.labels, strict=True):
            length = max(stop - start, 1e-6)
            inside = (time >= start) & (time <= stop)
            distance = (time - (start + stop) / 2) / length
            for column, peak in enumerate(peaks):
                mu, sigma = planted.mu[label, column], planted.sigma[label, column]
                above, below = (
                    np.where(inside, np.exp(-0.5 * ((distance - place) / sigma) ** 2), 0.0).mean(1)
                    for place in (mu + _STEP, mu - _STEP)
                )
                slope = peak * (above - below) / (2 * _STEP)
                information[label, column] += mean_square * (slope**2).sum()
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.sqrt(information))


def best_correlations(bundle: DatasetBundle) -> dict[str, tuple[float, float, float]]:
    """Say how well an observer who knows all but mu would do.

    Returns:
        By the names in ``COLUMNS``: standard deviation of the true mu over the classes with a training instance, the
        root of their mean squared least error, and the correlation that these give.
    """
    store = bundle.train.store
    assert isinstance(store, evidence.SyntheticFeatureStore)
    errors = least_errors(bundle)
    occurs = np.isfinite(errors[:, 0])
    found = {}
    for column, name in enumerate(COLUMNS):
        spread = float(store.planted.mu[occurs, column].std())
        error = float(np.sqrt((errors[occurs, column] ** 2).mean()))
        found[name] = (spread, error, spread / float(np.hypot(spread, error)))
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery_bound", description=__doc__)
    parser.add_argument("--dataset", default="multithumos", help="benchmark whose twin it is")
    parser.add_argument("--scale", default="smoke", choices=SCALES)
    parser.add_argument("--seed", type=int, default=0, help="of the twin")
    asked = parser.parse_args(arguments)
    print("mu of   spread of the true ones   least error   best correlation")
    for name, (spread, error, best) in best_correlations(
        make_twin(asked.dataset, scale=asked.scale, seed=asked.seed)
    ).items():
        print(f"{name:6}  {spread:23.4f}  {error:12.4f}  {best:17.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
