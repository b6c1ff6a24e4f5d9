# SPDX-License-Identifier: Apache-2.0
"""A trained detector as a folder of files for other programs, and for this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.transform import FeatureTransform
from asl_fast.detection.trained import TrainedDetector
from asl_fast.exporting.card import model_card
from asl_fast.exporting.check import Deviation, deviations
from asl_fast.exporting.deployed import DeployedDetector
from asl_fast.exporting.formats import FILES, Format, Runner, traced, write_onnx, write_torch_export
from asl_fast.files import atomic_write, write_json, write_text
from asl_fast.models.pretrained import CONFIG, read_pretrained_config, weights_as_bytes
from asl_fast.serialization import to_dict
from asl_fast.wording import count

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


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds files of something else; an earlier export may be overwritten, and hidden files stay.

    Raises:
        OSError, ValueError: Naming the folder and what it holds.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--output {folder} is a file; name a folder")
    if (folder / "checkpoints").exists():
        raise ValueError(f"--output {folder} is a run folder, whose config.json would be overwritten; name another")
    if not folder.exists() or _holds_export(folder):
        return
    foreign = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if foreign:
        raise ValueError(
            f"--output {folder} holds {count(len(foreign), 'file')} of something else, for example {foreign[0]!r}; "
            "name a new or empty folder"
        )


def _holds_export(folder: Path) -> bool:
    """Whether ``config.json``, which an export writes first, is there and is one of ours."""
    try:
        content = read_pretrained_config(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return "dataset" in content


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
            with atomic_write(path) as file:
                file.write(weights_as_bytes(trained.detector.state_dict()))
        else:
            assert program is not None
            run = (write_onnx if format == "onnx" else write_torch_export)(program, path)
        yield Written(format, path, run)


def write_config(trained: TrainedDetector, folder: Path) -> dict[str, Any]:
    """Write ``config.json``, without the places where the data lay; return its content.

    It is written first, so that a folder in which the rest was interrupted is known for one of ours.
    """
    config = to_dict(trained.config.without_places())
    known = ("name", "synthetic", "class_names", "feature_dim", "grid", "frame_rates", "manifest", "transform")
    dataset = {key: trained.dataset[key] for key in known if key in trained.dataset}
    if dataset["manifest"] is not None:
        dataset["manifest"] = asdict(FeatureManifest(**dataset["manifest"]).without_places())
    content = {"config": config, "dataset": dataset, "epoch": trained.epoch}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, content, indent=1)
    return content


def write_card(
    content: dict[str, Any], folder: Path, formats: Sequence[Format], results: dict[str, Any] | None
) -> None:
    """Write the model card of what `write_config` returned, beside the files."""
    write_text(folder / CARD, model_card(content["config"], content["dataset"], formats, results))


def check_files(written: Sequence[Written], deployed: DeployedDetector) -> Iterator[tuple[Written, Deviation]]:
    """Run what can be run beside the detector itself, at several lengths and batch sizes."""
    for each in written:
        if each.run is not None:
            for deviation in deviations(each.run, deployed):
                yield each, deviation
