# SPDX-License-Identifier: Apache-2.0
"""The options of the detector."""

from __future__ import annotations

import itertools
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Literal

UNBOUNDED_GRID = 10000.0  # The upper end of the coarsest level's range.


@dataclass(frozen=True)
class FrontEndConfig:
    """A small convolutional network on raw samples, for sensor streams whose features are not precomputed.

    A feature vector of the data set then holds ``samples_per_step`` consecutive raw samples.

    Attributes:
        samples_per_step: Raw samples in one grid step.
        strides: Stride of each convolution; they multiply to ``samples_per_step``, so that one output step remains per
            grid step.
        width: Channels of the convolutions.
        kernel_size: Odd kernel of the convolutions.
    """

    samples_per_step: int
    strides: tuple[int, ...]
    width: int = 64
    kernel_size: int = 11


MOST_LEVELS = 16


@dataclass(frozen=True)
class DetectorConfig:
    """Architecture of :class:`asl_fast.models.ActionDetector`; lengths are in feature-grid steps.

    Attributes:
        feature_dim: Channels of the input features; 0 means "as the data set has it" in a training configuration.
        num_classes: Number of action classes; 0 means "as the data set has it" in a training configuration.
        width: Channels of the backbone.
        num_levels: Levels of the backbone, each half the temporal resolution of the one before.
        first_level: Finest level that neck and heads work on; those before it are for the backbone alone.
        backbone: Windowed self-attention ("transformer") or residual convolutions ("conv").
        num_heads: Attention heads.
        attention_windows: Odd attention window of each level, or one for all; 0 is full attention.
        attention_sides: What a head sees: "both" sides of a position, or "split": half of the heads see the position
            and what came before it, the others the position and what comes after (as in CausalTAD).
        embedding_layers: Convolutions of width 3 before the first block.
        stem_blocks: Blocks at full resolution.
        mlp_ratio: Width of a block's hidden layer over ``width``.
        input_splits: Channels of several feature streams that are projected separately to ``projection_dims`` first.
        projection_dims: Output channels of those projections; they sum to ``width``.
        positions: "none", "absolute" sinusoids, or "relative" biases of the windowed attention.
        max_length_grid: Longest training sequence; absolute positions of longer ones are compressed to this range.
        fpn: Whether the levels exchange information top-down before the heads.
        neck_width: Channels after the neck; 0 means ``width``.
        head_blocks: Blocks on every level that either head has for itself, with a neck of its own, instead of what
            the other sees; all levels share their weights and the window of ``first_level``. Evaluators of q and the
            contrastive loss see what classification sees.
        head_width: Channels in the heads; 0 means ``width``.
        head_layers: Convolutions in a head, the output layer included.
        kernel_size: Odd kernel of embedding and heads.
        embedding_norm: Whether a LayerNorm follows each convolution of the embedding.
        neck_norm: Whether a LayerNorm follows the neck.
        head_norm: Whether a LayerNorm follows each hidden convolution of a head.
        offset_bins: If positive, a boundary distance is the expectation over so many strides around a point, from where
            boundaries look likely there (TriDet's Trident head); 0 regresses distances directly.
        offset_activation: What makes directly regressed distances positive: "squareplus" lets a gradient through
            everywhere, ActionFormer's "relu" can close for good in training; its checkpoints need it.
        regression_ranges: Per level, the (low, high) range of the larger boundary distance of the instances it is
            responsible for, from ``first_level`` on; empty means 0-4-8-16-...-unbounded, times that level's stride.
        dropout: Dropout after projections and in the MLP.
        drop_path: Probability to drop a residual branch of a sample.
        layer_scale: Whether residual branches are scaled per channel, starting at 1e-4.
        prior_probability: Initial class probability of the classifier.
        rare_classes: Classes whose classifier starts at a probability of 1e-6 (classes without training instances).
        mask_norms: Keep padded positions at zero after every LayerNorm, so that the output of a sequence does not
            depend on padding or batch mates. ActionFormer does not; its checkpoints need False to give its outputs.
        front_end: Optional network on raw samples.
    """

    feature_dim: int = 0
    num_classes: int = 0
    width: int = 512
    num_levels: int = 6
    first_level: int = 0
    backbone: Literal["transformer", "conv"] = "transformer"
    num_heads: int = 4
    attention_windows: tuple[int, ...] = (19,)
    attention_sides: Literal["both", "split"] = field(default="both", metadata={"later": True})
    embedding_layers: int = 2
    stem_blocks: int = 2
    mlp_ratio: float = 4.0
    input_splits: tuple[int, ...] = ()
    projection_dims: tuple[int, ...] = ()
    positions: Literal["none", "absolute", "relative"] = "none"
    max_length_grid: int = 2304
    fpn: bool = False
    neck_width: int = 0
    head_blocks: int = field(default=0, metadata={"later": True})
    head_width: int = 0
    head_layers: int = 3
    kernel_size: int = 3
    embedding_norm: bool = True
    neck_norm: bool = True
    head_norm: bool = True
    offset_bins: int = field(default=0, metadata={"later": True})
    offset_activation: Literal["squareplus", "relu"] = field(default="squareplus", metadata={"before": "relu"})
    regression_ranges: tuple[tuple[float, float], ...] = ()
    dropout: float = 0.0
    drop_path: float = 0.1
    layer_scale: bool = True
    prior_probability: float = 0.01
    rare_classes: tuple[int, ...] = ()
    mask_norms: bool = True
    front_end: FrontEndConfig | None = None

    @property
    def windows(self) -> tuple[int, ...]:
        """Attention window of each level."""
        return self.attention_windows * self.num_levels if len(self.attention_windows) == 1 else self.attention_windows

    @property
    def ranges_grid(self) -> tuple[tuple[float, float], ...]:
        """Regression range of each level from ``first_level`` on, in grid steps."""
        return self.regression_ranges or doubling_ranges(self.num_levels - self.first_level, 4.0 * 2**self.first_level)

    def validate(self) -> None:
        """Check that the fields fit together.

        Raises:
            ValueError: Naming the field and the fix.
        """
        for name in ("feature_dim", "num_classes", "width", "num_levels", "num_heads", "head_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be at least 1, found {getattr(self, name)}")
        if self.num_levels > MOST_LEVELS:
            # Sequences are padded to a multiple of the coarsest level's stride.
            raise ValueError(f"model.num_levels must be at most {MOST_LEVELS}, found {self.num_levels}")
        if self.width % self.num_heads:
            raise ValueError(f"model.width {self.width} is not a multiple of model.num_heads {self.num_heads}")
        if self.attention_sides == "split" and self.num_heads % 2:
            raise ValueError(f"model.attention_sides 'split' needs an even model.num_heads, found {self.num_heads}")
        for name in ("offset_bins", "head_blocks"):
            if getattr(self, name) < 0:
                raise ValueError(f"model.{name} must be 0 or more, found {getattr(self, name)}")
        if len(self.windows) != self.num_levels:
            raise ValueError(
                f"model.attention_windows has {len(self.windows)} entries for {self.num_levels} levels; "
                "give one window or one per level"
            )
        if any(w < 0 or (w > 0 and w % 2 == 0) for w in self.windows):
            raise ValueError(f"model.attention_windows must be odd, or 0 for full attention, found {self.windows}")
        if not 0 <= self.first_level < self.num_levels:
            raise ValueError(f"model.first_level must lie in 0 to {self.num_levels - 1}, found {self.first_level}")
        if len(self.ranges_grid) != self.num_levels - self.first_level:
            raise ValueError(
                f"model.regression_ranges has {len(self.ranges_grid)} entries for {self.num_levels - self.first_level} "
                "levels; give none, or one (low, high) per level"
            )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"model.kernel_size must be odd, found {self.kernel_size}")
        if len(self.input_splits) != len(self.projection_dims):
            raise ValueError("model.input_splits and model.projection_dims must have the same number of entries")
        if self.input_splits and (
            sum(self.input_splits) != self.feature_dim or sum(self.projection_dims) != self.width
        ):
            raise ValueError(
                f"model.input_splits must sum to feature_dim {self.feature_dim} and model.projection_dims to width "
                f"{self.width}, found {self.input_splits} and {self.projection_dims}"
            )
        if not self.fpn and self.neck_width not in (0, self.width):
            raise ValueError("model.neck_width differs from model.width, which needs model.fpn")
        front_end = self.front_end
        if front_end is not None:
            product = 1
            for stride in front_end.strides:
                product *= stride
            if product != front_end.samples_per_step or self.feature_dim % front_end.samples_per_step:
                raise ValueError(
                    f"model.front_end.strides {front_end.strides} must multiply to samples_per_step "
                    f"{front_end.samples_per_step}, which must divide feature_dim {self.feature_dim}"
                )


def doubling_ranges(num_levels: int, first_grid: float = 4.0) -> tuple[tuple[float, float], ...]:
    """Return the regression ranges 0-f-2f-4f-...-unbounded of ``num_levels`` levels, as ActionFormer has them."""
    edges = [0.0, *(first_grid * 2**level for level in range(num_levels - 1)), UNBOUNDED_GRID]
    return tuple(itertools.pairwise(edges))


@dataclass(frozen=True)
class InferenceConfig:
    """Thresholds of post-processing, ActionFormer's defaults.

    Attributes:
        score_threshold: Candidates must score more.
        candidates_per_level: Best-scoring (point, class) pairs kept per video and level.
        min_length_grid: Candidates must be longer, in grid steps.
        nms: How overlapping detections are suppressed.
        nms_sigma: Width of the Gaussian decay.
        nms_iou_threshold: IoU from which "linear" decays and "hard" removes.
        min_score: Detections whose score, decayed if there is suppression, falls below are dropped, except the best
            of each class.
        max_segments: Detections kept per video, with or without suppression; 0 keeps all.
        class_agnostic: Suppress across classes.
        voting_threshold: If set, boundaries are averaged over candidates of at least this tIoU.
    """

    score_threshold: float = 0.001
    candidates_per_level: int = 2000
    min_length_grid: float = 0.05
    nms: Literal["gaussian", "linear", "hard", "none"] = "gaussian"
    nms_sigma: float = 0.5
    nms_iou_threshold: float = 0.1
    min_score: float = 0.001
    max_segments: int = 200
    class_agnostic: bool = False
    voting_threshold: float | None = None

    def check_effect(self, given: Container[str], prefix: str = "--") -> None:
        """Check that none of the options that were given one by one is without effect beside ``nms``.

        Args:
            given: Names of fields.
            prefix: What stands before their names on the command line.

        Raises:
            ValueError: Naming the option, ``nms``, and the methods that it is for.
        """
        for name, methods in _OF_METHODS.items():
            if name in given and self.nms not in methods:
                option = prefix + name.replace("_", "-")
                raise ValueError(
                    f"{option} has no effect beside {prefix}nms {self.nms}: leave it out, or take {prefix}nms {methods}"
                )


_OF_METHODS = {
    "nms_sigma": "gaussian",
    "nms_iou_threshold": "linear or hard",
    "class_agnostic": "gaussian, linear or hard",
    "voting_threshold": "gaussian, linear or hard",
}
