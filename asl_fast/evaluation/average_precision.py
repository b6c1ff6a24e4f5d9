# SPDX-License-Identifier: Apache-2.0
"""Average precision of one class from the ranks of its true positives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def average_precision(hits: npt.NDArray[np.bool_], num_annotations: int) -> float:
    """Area under the interpolated precision-recall curve at all recall points (Pascal VOC 2011).

    Precision falls between true positives, so the envelope is decided at them: with the j-th true positive at rank
    r_j the area is sum_j max_{k >= j} (k / r_k) / num_annotations.

    Args:
        hits: (N,) bool, whether each prediction is a true positive, best score first.
        num_annotations: Annotations of the class, at least one.

    Returns:
        AP in [0, 1]; 0 without predictions.
    """
    ranks = np.flatnonzero(hits) + 1
    precision = np.arange(1, len(ranks) + 1) / ranks
    envelope = np.maximum.accumulate(precision[::-1])
    return float(envelope.sum() / num_annotations)
