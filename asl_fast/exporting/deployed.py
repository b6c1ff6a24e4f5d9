# SPDX-License-Identifier: Apache-2.0
"""The detector as it is taken away: features in, segments in seconds and scores out, any batch and any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asl_fast.data.transform import FeatureTransform
from asl_fast.models.detector import ActionDetector

INPUTS = ("features", "lengths", "first_sec", "step_sec")
OUTPUTS = ("segments_sec", "scores")
MAX_BATCH, MAX_LENGTH = 4096, 2**24
LONG_CHUNK = 32  # attention is cheap in chunks of this length, if it divides what is attended to


class DeployedDetector(nn.Module):
    """A detector with all that stands between what a recording holds and seconds, as one graph of plain operators.

    Suppression is left to the caller (``asl_fast.soft_nms``), as its result has no fixed size.

    Args:
        detector: The model.
        min_length_grid: Segments that are not longer, in grid steps, score 0.
        transform: What turns raw samples into features, for a model that was trained on raw samples.

    Raises:
        ValueError: For a model whose outputs depend on the padded length, which no one graph can express.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, detector: ActionDetector, *, min_length_grid: float, transform: FeatureTransform | None = None
    ) -> None:
        super().__init__()
        config = detector.config
        if config.positions == "absolute" and not config.mask_norms:
            raise ValueError(
                "absolute positions of ActionFormer (model.mask_norms off) are stretched by the padded length, so its "
                "outputs have no one graph for all lengths; train with model.mask_norms, or run it with detect"
            )
        self.detector, self.min_length_grid = detector, min_length_grid
        self.samples_per_step = 1 if transform is None else transform.samples_per_step
        self.input_dim = config.feature_dim if transform is None else transform.num_channels
        mean, std = (transform.mean, transform.std) if transform is not None else ([0.0], [1.0])
        self.normalises = transform is not None
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float64))

    def forward(self, features: Tensor, lengths: Tensor, first_sec: Tensor, step_sec: Tensor) -> tuple[Tensor, Tensor]:
        """Detect in a padded batch.

        Args:
            features: (B, T, input_dim) float32: features, or raw samples where the model was trained on them. What lies
                beyond a recording's length does not matter.
            lengths: (B,) int64, rows of each recording, from 1 to T.
            first_sec: (B,) float64, the time that a recording's first grid step stands for.
            step_sec: (B,) float64, time between two grid steps.

        Returns:
            segments_sec (B, P, 2) float64, start and end at each of the P points of all levels, finest level first, not
            clipped to the recording; and scores (B, P, C) float32 in [0, 1], 0 at points beyond the recording and for
            segments that are too short.
        """
        x, valid = self._grid(features, lengths)
        output = self.detector(x, valid)
        segments, scores = [], []
        for logits, offsets, mask, points in zip(
            output.logits, output.offsets, output.masks, output.points, strict=True
        ):
            time, stride = points[:, 0].double(), points[:, 3:].double()
            distance = offsets.double() * stride
            start, end = time - distance[..., 0], time + distance[..., 1]
            kept = mask & (end - start > self.min_length_grid)
            scores.append(logits.sigmoid() * kept.unsqueeze(-1))
            segments.append(torch.stack((start, end), -1))
        seconds = torch.cat(segments, 1) * step_sec[:, None, None] + first_sec[:, None, None]
        return seconds, torch.cat(scores, 1)

    def _grid(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the detector's input (B, T', D) and its mask, T' a multiple of what the levels need.

        The length is a symbol while a graph is exported. Rows are therefore taken by their index, repeating the last,
        and there is always one multiple more than needed: a graph for one multiple would be another than for several.
        (Imported ActionFormer models depend on their padding near the end of a recording, here as there.)
        """
        samples = self.samples_per_step
        block = samples * max(self.detector.length_multiple, LONG_CHUNK)
        places = torch.arange((features.shape[1] + 2 * block - 1) // block * block, device=features.device)
        # The last step of a recording is filled up by its last sample.
        last = (lengths - 1).clamp(min=0).unsqueeze(1)
        index = torch.minimum(places.unsqueeze(0), last)  # (B, T')
        x = features.gather(1, index.unsqueeze(-1).expand(-1, -1, self.input_dim))
        if self.normalises:
            x = ((x.double() - self.mean) / self.std).float()
        steps = torch.div(lengths + samples - 1, samples, rounding_mode="floor")
        if samples > 1:
            x = torch.unflatten(x, 1, (-1, samples)).flatten(2)
        valid = places[::samples].unsqueeze(0) < (steps * samples).unsqueeze(1)
        return x, valid


def example_inputs(deployed: DeployedDetector, batch: int, length: int, *, seed: int = 0) -> tuple[Tensor, ...]:
    """Draw inputs: ``batch`` recordings, the first of ``length`` rows, the others shorter.

    Returns:
        What :meth:`DeployedDetector.forward` takes, in the order of ``INPUTS``.
    """
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, length, deployed.input_dim, generator=generator)
    lengths = torch.tensor([max(1, length - row * (length // 3)) for row in range(batch)])
    return features, lengths, torch.full((batch,), 0.25).double(), torch.full((batch,), 0.5).double()
