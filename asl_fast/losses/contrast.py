# SPDX-License-Identifier: Apache-2.0
"""The contrastive loss of :class:`asl_fast.ASLLoss` (Shao et al., ICCV 2023, section 3.3), and where it goes beyond.

The paper compares the instances of one batch on the finest level. A batch of two videos may hold few instances, mostly
of different classes, so that the only positive of f_cls is the f_loc of the same instance; and the detector classifies
an instance on the level of its length, not on the finest. Two options answer that: other levels, and a memory of
vectors of the batches before (as in He et al., CVPR 2020, MoCo). The fused op compares one level or all of one batch.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.losses.config import LossConfig
from asl_fast.losses.inputs import LossInputs
from asl_fast.losses.peers import Peers
from asl_fast.ops.contrastive_similarity import add_contrastive_similarity_loss, info_nce, instance_vectors
from asl_fast.ops.ragged import RaggedTargets

NO_PART = -2


class VectorMemory(nn.Module):
    """The latest M vectors of the batches before, on the device.

    It has room for as many again, so that a batch of up to M vectors that is computed again, by activation
    checkpointing, still finds what it found at first.

    Args:
        size: Number M of vectors.
        dim: Their channels D.

    Attributes:
        vectors: (2 M + 1, D); the last row takes what is not kept.
        labels: (2 M + 1,) int64: class, -1 of background, -2 of an empty row.
        number: (2 M + 1,) int64, which of all vectors lies in each row, from 1.
        written: () int64, vectors so far.
        written_before: () int64, vectors before the latest batch.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        rows = 2 * size + 1
        self.register_buffer("vectors", torch.zeros(rows, dim))
        self.register_buffer("labels", torch.full((rows,), NO_PART))
        self.register_buffer("number", torch.zeros(rows, dtype=torch.int64))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))
        self.register_buffer("written_before", torch.zeros((), dtype=torch.int64))
        self.vectors: Tensor
        self.labels: Tensor
        self.number: Tensor
        self.written: Tensor
        self.written_before: Tensor

    def read(self, *, again: bool) -> tuple[Tensor, Tensor]:
        """Return vectors (2 M, D) and labels (2 M,), -2 of all but the latest M; later writes do not change them.

        Args:
            again: As before the latest batch: it is the one that is computed, again.
        """
        end = self.written_before if again else self.written
        kept = slice(2 * self.size)
        number = self.number[kept]
        latest = (number > end - self.size) & (number <= end)
        return self.vectors[kept].clone(), torch.where(latest, self.labels[kept], NO_PART)

    def write(self, vectors: Tensor, labels: Tensor) -> None:
        """Keep the vectors (K, D) that take part by their labels (K,), the last 2 M at most; nothing is read back."""
        takes_part = labels > NO_PART
        order = takes_part.cumsum(0)
        number = self.written + order
        count = order[-1:].sum()
        rows = 2 * self.size
        place = torch.where(takes_part & (order > count - rows), number % rows, rows)
        self.vectors.index_copy_(0, place, vectors.detach().to(self.vectors.dtype))
        self.labels.index_copy_(0, place, labels)
        self.number.index_copy_(0, place, number)
        # The row that takes the rest holds the one of them that came last, whichever that is on a GPU.
        self.vectors[rows:].zero_()
        self.labels[rows:].fill_(NO_PART)
        self.number[rows:].zero_()
        self.written_before.copy_(self.written)
        self.written += count


def levels_as_videos(given: LossInputs, targets: RaggedTargets) -> tuple[Tensor, Tensor, RaggedTargets]:
    """Lay the levels under each other as videos of their own, so that one call compares the instances of all levels.

    Args:
        given: The detector's outputs on L levels of B videos.
        targets: Ground truth in feature-grid units.

    Returns:
        Features (L B, T, D) and their mask (L B, T), level after level and as long as the longest, and G L instances in
        frames of their level, padding of ``targets`` behind all of them.
    """
    longest, batch = max(x.shape[1] for x in given.features), targets.batch_size
    features = torch.cat([F.pad(x, (0, 0, 0, longest - x.shape[1])) for x in given.features])
    mask = torch.cat([F.pad(x, (0, longest - x.shape[1])) for x in given.masks])
    levels, rows = len(given.features), torch.arange(len(given.features) * len(targets.labels), device=mask.device)
    begins = itertools.accumulate((x.shape[1] + given.gap for x in given.features[:-1]), initial=0)
    strides = torch.stack([given.points[begin, 3] for begin in begins])
    number = targets.video_offsets[-1]
    level, row = rows // number.clamp(min=1), rows % number.clamp(min=1)
    # Not by brackets: those of a mask would have a shape from data, which a CUDA graph cannot record.
    stride = strides.index_select(0, level.clamp(max=levels - 1))
    segments = targets.segments.index_select(0, row) / stride[:, None]
    offsets = [targets.video_offsets[:batch] + each * number for each in range(levels)]
    offsets.append(levels * number[None])
    return features, mask, RaggedTargets(segments, targets.labels.index_select(0, row), torch.cat(offsets))


class InstanceContrast(nn.Module):
    """The contrastive loss with its options.

    Args:
        feature_dim: D, channels of the pyramid's features.
        config: The options ``contrastive_*``, ``delta`` and ``temperature``.
    """

    def __init__(self, feature_dim: int, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.memory: VectorMemory | None = None
        if config.contrastive_memory:
            self.memory = VectorMemory(config.contrastive_memory, feature_dim)

    def add(
        self,
        total: Tensor,
        given: LossInputs,
        targets: RaggedTargets,
        segments_finest: Tensor,
        mu: Tensor,
        sigma: Tensor,
        *,
        moves: bool,
        again: bool,
        peers: Peers | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return ``total`` with the weighted loss, and the loss; both () in the dtype of ``total``.

        Args:
            total: What the other losses sum to, ().
            given: The detector's outputs.
            targets: Ground truth in feature-grid units.
            segments_finest: (G, 2) its segments in frames of the finest level.
            mu: (C, 3) centres of the Gaussians.
            sigma: (C, 3) widths.
            moves: Whether the memory takes this batch in, as in a step of training.
            again: Whether this batch is computed again, by activation checkpointing.
            peers: Processes with other videos of the same batch, whose instances are compared too.
        """
        config = self.config
        each_positive = config.contrastive_positives == "each"
        in_batch = self.memory is None and not each_positive and peers is None
        if in_batch and config.contrastive_levels != "assigned":
            on_finest = RaggedTargets(segments_finest, targets.labels, targets.video_offsets)
            one_level = config.contrastive_levels == "finest" or len(given.features) == 1
            features = (given.features[0], given.masks[0], on_finest) if one_level else levels_as_videos(given, targets)
            total, loss = add_contrastive_similarity_loss(
                total,
                config.contrastive_weight,
                *features,
                mu,
                sigma,
                delta=config.delta,
                temperature=config.temperature,
            )
            return total, loss.to(total.dtype)
        vectors, labels = self._vectors(given, targets, mu, sigma)
        if peers is not None:
            vectors, labels = peers.gathered(vectors), peers.gathered(labels)
        others = None if self.memory is None else self.memory.read(again=again)
        loss = info_nce(vectors, labels, config.temperature, others, each_positive=each_positive).to(total.dtype)
        if self.memory is not None and moves and len(labels):
            self.memory.write(vectors, labels)
        return total + config.contrastive_weight * loss, loss

    def _vectors(self, given: LossInputs, targets: RaggedTargets, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Pool every instance on its levels; vectors (K, D) and labels (K,), level after level."""
        levels = len(given.features) if self.config.contrastive_levels != "finest" else 1
        half_length = (targets.segments[:, 1] - targets.segments[:, 0]) / 2
        found, begin = [], 0
        for features, mask in zip(given.features[:levels], given.masks, strict=False):
            _, low, high, stride = given.points[begin].unbind(-1)
            begin += features.shape[1] + given.gap
            segments = targets.segments / stride
            if self.config.contrastive_levels == "assigned":
                # As for the centre of the instance: its distance to both boundaries is half the length.
                trained_here = (half_length >= low) & (half_length <= high)
                segments = torch.where(trained_here[:, None], segments, 0.0)
            found.append(
                instance_vectors(
                    features,
                    mask,
                    RaggedTargets(segments, targets.labels, targets.video_offsets),
                    mu,
                    sigma,
                    delta=self.config.delta,
                )
            )
        vectors, labels = zip(*found, strict=True)
        return torch.cat(vectors), torch.cat(labels)
