# SPDX-License-Identifier: Apache-2.0
"""The detector: features in, per-level class logits and boundary offsets out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.layers.joined_levels import join_levels, join_tensors, split_levels
from asl_fast.models.backbone import Backbone
from asl_fast.models.boundary_bins import BoundaryDistributionHead
from asl_fast.models.config import DetectorConfig
from asl_fast.models.convert_actionformer import convert_config, convert_state_dict
from asl_fast.models.heads import ClassificationHead, RegressionHead
from asl_fast.models.neck import HeadBlocks, make_neck
from asl_fast.models.points import LevelPoints
from asl_fast.models.positions import Place
from asl_fast.models.pretrained import check_fit, find_pretrained, read_pretrained_config, read_weights
from asl_fast.serialization import from_dict


@dataclass(frozen=True)
class DetectorOutput:
    """What the detector predicts, from level ``first_level`` on; T_l halves from level to level.

    The heads see all levels in one tensor, and what they give stays in one, which a loss takes as it is: P' places, the
    levels one after the other with ``gap`` places between them that belong to none. Per level there are views of it.

    Attributes:
        joined_logits: (B, P', C) of the classes; zero where padded and between the levels.
        joined_offsets: (B, P', 2) non-negative distances to start and end, in units of the level's stride; likewise.
        joined_mask: (B, P') bool, True where valid.
        gap: Places between each two levels.
        features: Per level (B, T_l, D) that the classification head sees; the other as well, unless it has own blocks.
        masks: Per level (B, T_l) bool, True where valid.
        points: Per level (T_l, 4) float32 [time_grid, range_low, range_high, stride].
    """

    joined_logits: Tensor
    joined_offsets: Tensor
    joined_mask: Tensor
    gap: int
    features: list[Tensor]
    masks: list[Tensor]
    points: list[Tensor]

    @property
    def lengths(self) -> tuple[int, ...]:
        """T_l of each level."""
        return tuple(mask.shape[1] for mask in self.masks)

    @property
    def logits(self) -> list[Tensor]:
        """Per level (B, T_l, C)."""
        return split_levels(self.joined_logits, self.lengths, self.gap)

    @property
    def offsets(self) -> list[Tensor]:
        """Per level (B, T_l, 2)."""
        return split_levels(self.joined_offsets, self.lengths, self.gap)

    @classmethod
    def from_levels(
        cls,
        *,
        logits: Sequence[Tensor],
        offsets: Sequence[Tensor],
        features: Sequence[Tensor],
        masks: Sequence[Tensor],
        points: Sequence[Tensor],
    ) -> DetectorOutput:
        """Join the levels of another detector, shaped as the attributes of the same names are."""
        return cls(
            joined_logits=join_tensors(logits, 0),
            joined_offsets=join_tensors(offsets, 0),
            joined_mask=join_tensors(masks, 0),
            gap=0,
            features=list(features),
            masks=list(masks),
            points=list(points),
        )


class ActionDetector(nn.Module):
    """ActionFormer's detector (Zhang, Wu, Li, ECCV 2022) in channels-last layout.

    Args:
        config: The architecture; ``feature_dim`` and ``num_classes`` must be set.

    Raises:
        ValueError: Fields of the configuration that do not fit together.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        config.validate()
        self.config = config
        self.backbone = Backbone(config)
        self.classification_blocks, self.neck = HeadBlocks(config), make_neck(config)
        self.regression_blocks = HeadBlocks(config)
        self.regression_neck = make_neck(config) if config.head_blocks else None
        self.classification_head = ClassificationHead(config)
        self.regression_head = BoundaryDistributionHead(config) if config.offset_bins else RegressionHead(config)
        self.points = LevelPoints(config.ranges_grid, config.first_level, config.max_length_grid)

    @property
    def length_multiple(self) -> int:
        """Number of grid steps to a multiple of which sequences are padded."""
        return int(2 ** (self.config.num_levels - 1))

    def forward(self, features: Tensor, mask: Tensor, place: Place | None = None) -> DetectorOutput:
        """Run the detector on a padded batch.

        Args:
            features: (B, T, feature_dim) floating point; what lies in padded positions does not matter.
            mask: (B, T) bool, True where valid; the valid positions of a sequence come first.
            place: Where in a longer sequence, the same for all of the batch, these steps lie; None where they are the
                whole. Points count from the first step of ``features`` in any case.

        Returns:
            The predictions; level 0 has T steps, rounded up to a multiple of :attr:`length_multiple`.

        Raises:
            ValueError: Shapes that do not fit the model.
            TypeError: A mask that is not bool, or features that are not floating point.
        """
        self._check(features, mask)
        pad = -features.shape[1] % self.length_multiple
        if pad:
            features, mask = F.pad(features, (0, 0, 0, pad)), F.pad(mask, (0, pad))
        # Not a product with the mask: NaN times zero would stay NaN.
        features = features.masked_fill(~mask.unsqueeze(-1), 0.0)
        first, gap = self.config.first_level, self.config.kernel_size // 2
        pyramid, masks = (x[first:] for x in self.backbone(features, mask, place))
        levels = self.neck(self.classification_blocks(pyramid, masks), masks)
        joined = for_offsets = join_levels(levels, masks, gap)
        if self.regression_neck is not None:
            own = self.regression_neck(self.regression_blocks(pyramid, masks), masks)
            for_offsets = join_levels(own, masks, gap)
        return DetectorOutput(
            joined_logits=self.classification_head(joined),
            joined_offsets=self.regression_head(for_offsets),
            joined_mask=joined.mask,
            gap=joined.gap,
            features=levels,
            masks=masks,
            points=self.points([x.shape[1] for x in levels]),
        )

    def _check(self, features: Tensor, mask: Tensor) -> None:
        if features.dim() != 3 or features.shape[-1] != self.config.feature_dim:
            raise ValueError(
                f"features must have shape (B, T, {self.config.feature_dim}), found {tuple(features.shape)}; "
                "is the time axis in the middle, and are these the features the model was trained on?"
            )
        if mask.shape != features.shape[:2]:
            raise ValueError(f"mask must have shape {tuple(features.shape[:2])}, found {tuple(mask.shape)}")
        if mask.dtype != torch.bool:
            raise TypeError(f"mask must be bool, found {mask.dtype}")
        if not features.is_floating_point():
            raise TypeError(f"features must be floating point, found {features.dtype}")
        if features.shape[1] == 0:
            raise ValueError("features have no time steps")

    @classmethod
    def from_pretrained(cls, source: str | Path) -> ActionDetector:
        """Load a detector that ``python -m asl_fast.export --to safetensors`` wrote, in evaluation mode.

        Args:
            source: The folder, or the id of a model on the Hugging Face hub, "owner/name".

        Raises:
            FileNotFoundError: For what is neither.
            ImportError: Without the safetensors package, or for an id without huggingface_hub.
            OSError: When the hub cannot be reached.
            ValueError: Naming the file that is damaged, or weights that do not fit the configuration.
        """
        config_path, weights_path = find_pretrained(source)
        content = read_pretrained_config(config_path)
        config = from_dict(DetectorConfig, content["config"]["model"], str(config_path))
        try:
            # Without memory first, as a wrong configuration may ask for any size.
            with torch.device("meta"):
                expected = cls(config).state_dict()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{config_path}: {error}") from None
        weights = read_weights(weights_path)
        check_fit(weights, expected, weights_path)
        detector = cls(config)
        detector.load_state_dict(weights)
        return detector.eval()

    @classmethod
    def from_actionformer(cls, state_dict: Mapping[str, Tensor], config: Mapping[str, Any]) -> ActionDetector:
        """Make a detector with the weights of an ActionFormer checkpoint, which gives ActionFormer's outputs.

        Args:
            state_dict: The model's state dict, or a whole checkpoint, of which the averaged weights are taken; the
                prefix "module." of data-parallel wrappers is removed.
            config: What its YAML file holds, or the keyword arguments of ActionFormer's ``LocPointTransformer``; what
                is left out has ActionFormer's default.

        Raises:
            ValueError: A configuration that has no equivalent here, or weights that do not fit it.
        """
        detector = cls(convert_config(config))
        converted = convert_state_dict(state_dict)
        missing, unexpected = detector.load_state_dict(converted, strict=False)
        if missing or unexpected:
            raise ValueError(
                f"the state dict does not fit the configuration: {len(missing)} parameters are missing, such as "
                f"{missing[:3]}, {len(unexpected)} unexpected, such as {unexpected[:3]}"
            )
        return detector
