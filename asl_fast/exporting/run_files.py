# SPDX-License-Identifier: Apache-2.0
"""A trained detector as a folder of files for other programs, and for this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asl_fast.data.transform import FeatureTransform
from asl_fast.detection.trained import TrainedDetector
from asl_fast.exporting.card import model_card
from asl_fast.exporting.check import Deviation, deviations
from asl_fast.exporting.deployed import DeployedDetector
from asl_fast.exporting.formats import FILES, Format, Runner, traced, write_onnx, write_torch_export
from asl_fast.files import atomic_write, write_json, write_text
from asl_fast.models.pretrained import CONFIG
from asl_fast.serialization import to_dict

CARD = "README.md"


@dataclass(frozen=True)
class Written:
    """One file.

    Attributes:
        format: What it is.
        path: Where it lies.
        run: What computes with it; None where it holds weights alone.
    """

    format: Format
    path: Path
    run: Runner | None


def deployed_detector(trained: TrainedDetector) -> DeployedDetector:
    """Wrap a trained detector for other programs.

    Raises:
        ValueError: For a model whose outputs depend on the padded length.
    """
    state = trained.dataset["transform"]
    return DeployedDetector(
        trained.detector.cpu().eval(),
        min_length_grid=trained.config.inference.min_length_grid,
        transform=None if state is None else FeatureTransform.from_state(state),
    )


def write_files(
    trained: TrainedDetector, deployed: DeployedDetector, folder: Path, formats: Sequence[Format]
) -> Iterator[Written]:
    """Write the files of a model one after the other, each whole or not at all.

    Args:
        trained: The detector of a run.
        deployed: The same for other programs.
        folder: Where they go; made unless it is there.
        formats: Which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = traced(deployed) if set(formats) & {"torch-export", "onnx"} else None
    for format in formats:
        path = folder / FILES[format]
        run: Runner | None = None
        if format == "safetensors":
            _write_weights(trained, path)
        else:
            assert program is not None
            run = (write_onnx if format == "onnx" else write_torch_export)(program, path)
        yield Written(format, path, run)


def write_description(
    trained: TrainedDetector, folder: Path, formats: Sequence[Format], results: dict[str, Any] | None
) -> None:
    """Write ``config.json`` and the model card, without the places where the data lay."""
    config = to_dict(replace(trained.config, data_root=None, annotations=None, features=(), output=None, device="auto"))
    config |= {"init_from": None, "af_config": None}
    known = ("name", "synthetic", "class_names", "feature_dim", "grid", "frame_rates", "manifest", "transform")
    dataset = {key: trained.dataset[key] for key in known if key in trained.dataset}
    write_json(folder / CONFIG, {"config": config, "dataset": dataset, "epoch": trained.epoch}, indent=1)
    write_text(folder / CARD, model_card(config, dataset, formats, results))


def check_files(written: Sequence[Written], deployed: DeployedDetector) -> Iterator[tuple[Written, Deviation]]:
    """Run what can be run beside the detector itself, at several lengths and batch sizes."""
    for each in written:
        if each.run is not None:
            for deviation in deviations(each.run, deployed):
                yield each, deviation


def _write_weights(trained: TrainedDetector, path: Path) -> None:
    from safetensors.torch import save

    weights = {name: value.detach().cpu().contiguous() for name, value in trained.detector.state_dict().items()}
    with atomic_write(path) as file:
        file.write(save(weights, metadata={"format": "pt"}))
