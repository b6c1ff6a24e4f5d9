# SPDX-License-Identifier: Apache-2.0
"""What a synthetic twin hides in its features for training to find: planted sensitivities and evidence directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.synthetic.statistics import BenchmarkProfile
from asl_fast.data.synthetic.timelines import class_ranking, seeded

LATENT_DIM = 96
"""Dimension of the space that evidence and noise live in before it is embedded in the feature channels."""
CLASS_CENTER_LIMIT = 0.35
"""Class evidence peaks at most this far from the centre, in instance lengths."""
CLASS_WIDTHS = (0.1, 0.5)
"""Smallest and largest planted width of class evidence, in instance lengths (log-uniform)."""
BOUNDARY_CENTERS = (0.3, 0.5)
"""Boundary evidence peaks between these distances from the centre, towards its boundary."""
BOUNDARY_WIDTHS = (0.1, 0.25)
"""Smallest and largest planted width of boundary evidence, in instance lengths."""
PARTNER_SHARE = 0.4
"""Squared cosine between the class directions of two confusable classes."""
NUM_DISTRACTORS = 8
"""Directions of background events that belong to no class."""


@dataclass(frozen=True, eq=False)
class Planted:
    """Planted sensitivities, in the parametrisation of the paper's Gaussians (Shao et al., ICCV 2023, section 3.2).

    Evidence at signed distance d from the instance centre, in instance lengths, is exp(-(d - mu)^2 / (2 sigma^2)).

    Args:
        mu: (C, 3) float64, columns class, start, end.
        sigma: (C, 3) float64, same columns.
        partner: (C,) int64, the class that each is confusable with (itself where C is 1).
    """

    mu: NDArray[np.float64]
    sigma: NDArray[np.float64]
    partner: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, rounded to 1e-6, for a run's metadata."""
        return {
            "columns": ["class", "start", "end"],
            "mu": np.round(self.mu, 6).tolist(),
            "sigma": np.round(self.sigma, 6).tolist(),
            "partner": self.partner.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Directions:
    """Unit directions in the latent space, (K, LATENT_DIM) float32, and where each kind begins among the K rows.

    Rows: C class directions, then for every group of confusable classes its body, start and end, then the distractors.
    """

    rows: NDArray[np.float32]
    group: NDArray[np.int64]
    num_classes: int
    num_groups: int

    def of_class(self, label: int) -> int:
        """Row of the evidence that tells a class from all others."""
        return label

    def of_body(self, label: int) -> int:
        """Row of what a class shares with its partner throughout the instance."""
        return self.num_classes + int(self.group[label])

    def of_boundary(self, label: int, side: int) -> int:
        """Row of the evidence of a start (0) or an end (1)."""
        return self.num_classes + (1 + side) * self.num_groups + int(self.group[label])

    def of_distractor(self, index: int) -> int:
        """Row of a background event."""
        return self.num_classes + 3 * self.num_groups + index


def plant(profile: BenchmarkProfile, seed: int) -> Planted:
    """Draw the planted sensitivities of a twin; they depend on the benchmark and the seed, not on the scale.

    Centres of class evidence are spread evenly over their range in random order, so that few classes already tell a
    learned mu from a constant.
    """
    rng = seeded(seed, profile.name, "planted")
    count = profile.num_classes
    mu, sigma = np.empty((count, 3)), np.empty((count, 3))
    mu[:, 0] = CLASS_CENTER_LIMIT * (2 * (rng.permutation(count) + rng.random(count)) / count - 1)
    sigma[:, 0] = np.exp(rng.uniform(math.log(CLASS_WIDTHS[0]), math.log(CLASS_WIDTHS[1]), count))
    for column, side in ((1, -1.0), (2, 1.0)):
        mu[:, column] = side * rng.uniform(*BOUNDARY_CENTERS, count)
        sigma[:, column] = rng.uniform(*BOUNDARY_WIDTHS, count)
    partner = np.empty(count, dtype=np.int64)
    # Neighbours in frequency, so that both of a pair occur in a twin that keeps the most frequent classes only.
    for members in _groups(class_ranking(profile, seed)):
        partner[members] = np.roll(members, 1)
    return Planted(mu, sigma, partner)


def directions(profile: BenchmarkProfile, planted: Planted, seed: int) -> Directions:
    """Draw the evidence directions of a twin."""
    rng = seeded(seed, profile.name, "directions")
    count = profile.num_classes
    group = _group_of(planted.partner)
    groups = int(group.max()) + 1
    own, body = _unit(rng, count), _unit(rng, groups)
    generic, boundary = _unit(rng, 2), _unit(rng, 2 * groups).reshape(2, groups, LATENT_DIM)
    classes = np.sqrt(1 - PARTNER_SHARE) * own + np.sqrt(PARTNER_SHARE) * body[group]
    edges = np.sqrt(0.5) * (generic[:, None] + boundary)
    stacked = np.concatenate([classes, body, edges.reshape(-1, LATENT_DIM), _unit(rng, NUM_DISTRACTORS)])
    stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
    return Directions(stacked.astype(np.float32), group, count, groups)


def embedding(profile: BenchmarkProfile, feature_dim: int, seed: int) -> NDArray[np.float32]:
    """(LATENT_DIM, D) float32 map from the latent space to the feature channels; unit noise gives unit channels."""
    rng = seeded(seed, profile.name, "embedding", feature_dim)
    weights = rng.standard_normal((LATENT_DIM, feature_dim), dtype=np.float32)
    return np.asarray(weights / np.float32(np.sqrt(LATENT_DIM)), dtype=np.float32)


def _groups(order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Pairs of classes; an odd class joins the last pair."""
    pairs = [order[index : index + 2] for index in range(0, len(order) - 1, 2)] or [order]
    if len(order) % 2 and len(order) > 1:
        pairs[-1] = order[-3:]
    return pairs


def _group_of(partner: NDArray[np.int64]) -> NDArray[np.int64]:
    group = np.full(len(partner), -1, dtype=np.int64)
    found = 0
    for label in range(len(partner)):
        if group[label] < 0:
            while group[label] < 0:
                group[label] = found
                label = int(partner[label])
            found += 1
    return group


def _unit(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    vectors = rng.standard_normal((count, LATENT_DIM))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
