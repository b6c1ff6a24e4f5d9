# SPDX-License-Identifier: Apache-2.0
"""Write a trained detector as files that run without this package.

One graph serves every batch size and length. Each file is run beside the detector before the command ends.

Examples:
    python -m asl_fast.export --run runs/thumos14-001 --output exported
    python -m asl_fast.export --run runs/thumos14-001 --to safetensors --output exported
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asl_fast.command_line.errors import CommandError, if_stopped, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.program import program
from asl_fast.files import read_json

STATUS_DIFFERS = 1


@dataclass(frozen=True)
class Arguments:
    """Which detector, and as what.

    Attributes:
        run: Run folder of the training, or a checkpoint file.
        output: Folder that the files are written to, with config.json and a model card (README.md).
        to: "torch-export" (model.pt2, for PyTorch alone), "onnx" (model.onnx), "safetensors" (the weights, for
            ActionDetector.from_pretrained and detect --run).
        checkpoint: Which checkpoint of the run folder: of the last epoch, or of the one that scored best.
        check: Run each file beside the detector, at five lengths up to 65,536 steps, or as many as fit into some GB,
            and at two batch sizes.
    """

    run: Path
    output: Path
    to: tuple[Literal["torch-export", "onnx", "safetensors"], ...] = ("torch-export", "onnx", "safetensors")
    checkpoint: Literal["last", "best"] = "last"
    check: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 where a file computes something else than the detector."""
    return run_command(lambda: _export(read_options(Arguments, "export", __doc__, arguments)))


def _export(chosen: Arguments) -> int:
    from asl_fast.detection.trained import load_trained
    from asl_fast.exporting.formats import require_packages
    from asl_fast.exporting.run_files import check_folder, deployed_detector, write_card, write_config, write_files

    formats = tuple(dict.fromkeys(chosen.to))
    if not formats:
        raise ValueError("--to needs at least one of torch-export, onnx and safetensors")
    check_folder(chosen.output)
    require_packages(formats)
    with if_stopped("files that were written whole are kept"):
        results = _results(chosen.run)
        trained = load_trained(chosen.run, checkpoint=chosen.checkpoint)
        deployed = deployed_detector(trained)
        config = write_config(trained, chosen.output)
        written = []
        for each in write_files(trained, deployed, chosen.output, formats):
            written.append(each)
            print(f"{each.path}  {each.path.stat().st_size / 2**20:.1f} MiB", flush=True)
        write_card(config, chosen.output, formats, results)
        print(f"{chosen.output / 'README.md'} says what goes in and what comes out")
        if chosen.check and any(each.run is not None for each in written):
            _check(written, deployed)
    if "safetensors" in formats:
        print(f"next: {program('detect')} --run {chosen.output} --features FILE_OR_DIR --output detections.json")
    return 0


def _check(written: Sequence[Any], deployed: Any) -> None:
    """Print how far each file is from the detector; leave with status 1 where one is too far."""
    from asl_fast.exporting.check import TOLERANCE
    from asl_fast.exporting.run_files import check_files

    print("\nbeside the detector itself, largest differences:")
    print(f"{'file':<12} {'batch':>5} {'length':>7} {'score':>9} {'boundary':>9}")
    far = []
    for each, found in check_files(written, deployed):
        name = each.path.name
        print(f"{name:<12} {found.batch:>5} {found.length:>7} {found.score:>9.1e} {found.boundary:>9.1e}", flush=True)
        if not found.is_small:
            far.append(name)
    if far:
        raise CommandError(
            f"{', '.join(dict.fromkeys(far))} differs from the detector by more than {TOLERANCE:g}; do not use it",
            STATUS_DIFFERS,
        )


def _results(run: Path) -> dict[str, Any] | None:
    """Read the run's own scores, where it has them."""
    path = run / "evaluation.json"
    found = read_json(path) if run.is_dir() and path.is_file() else None
    return found if isinstance(found, dict) else None


if __name__ == "__main__":
    sys.exit(main())
