# SPDX-License-Identifier: Apache-2.0
"""What a command line says about how videos become features, the same for every command that takes videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asl_fast.video.torchcodec_frames import require_torchcodec

CACHE = Path("runs/features")
"""Where features of videos are kept unless another folder is named."""


@dataclass(frozen=True)
class Recipe:
    """How videos become features.

    Attributes:
        backbone: What makes a feature vector of a window: motion (colours and movement, needs no weights), videomae,
            timesformer, vjepa2, clip, torchvision:NAME or timm:NAME of a model there, or a file that torch.export
            (.pt2) or an ONNX exporter (.onnx) wrote.
        weights: For videomae, timesformer, vjepa2 and clip the folder of a transformers model, with config.json and
            .safetensors, or its id on the Hugging Face hub; for a model of torchvision or timm the file of its weights,
            .safetensors or of a state_dict.
        window: Frames that a feature vector sees.
        stride: Frames between feature vectors.
        frame_rate: Frames per second that all videos are brought to; each keeps its own unless given.
        decoder: What decodes video files: pyav, or torchcodec where it is installed, for MP4, MOV, MKV, WebM and AVI;
            both give the same frames.
        backbone_precision: What the backbone computes in; bf16 is faster where the hardware has it.
    """

    backbone: str = "motion"
    weights: Path | None = None
    window: int = 16
    stride: int = 8
    frame_rate: float | None = None
    decoder: Literal["pyav", "torchcodec"] = "pyav"
    backbone_precision: Literal["fp32", "bf16"] = "fp32"

    def check(self) -> None:
        """Check values before anything is opened.

        Raises:
            ValueError: Naming the option, the value found and what is allowed.
            ImportError: Without the decoder that is asked for.
        """
        if self.decoder == "torchcodec":
            require_torchcodec()
        for name, value in (("window", self.window), ("stride", self.stride)):
            if not 1 <= value <= 4096:
                raise ValueError(f"--{name} must lie between 1 and 4096 frames, found {value}")
        if self.frame_rate is not None and not 0.05 <= self.frame_rate <= 1000:
            raise ValueError(f"--frame-rate must lie between 0.05 and 1000 a second, found {self.frame_rate:g}")
