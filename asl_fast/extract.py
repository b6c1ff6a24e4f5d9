# SPDX-License-Identifier: Apache-2.0
"""Extract features from videos, for train, check_data and detect.

It writes NAME.npy of each video and manifest.json, which says how they were made. Stopped, the same command goes on.

Exit status: 0 all videos have features, 1 some were skipped, 2 none has.

Examples:
    python -m asl_fast.extract --videos videos/ --output features/
    python -m asl_fast.extract --videos videos/ --backbone videomae --weights models/videomae-base --output features/
    python -m asl_fast.extract --videos a.mp4 b.mkv --backbone network.onnx --stride 4 --window 16 --output features/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from asl_fast.command_line.errors import if_stopped, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.program import program
from asl_fast.video.options import Recipe
from asl_fast.wording import count, printable

if TYPE_CHECKING:
    from asl_fast.video.extraction import Extracted


@dataclass(frozen=True)
class Arguments:
    """Which videos become features, how, and where to.

    Attributes:
        videos: Video files, and folders of them.
        output: Folder of the features; those that are there already, of the same files, stay.
        recipe: How videos become features.
        batch_size: Windows of one or several videos that the backbone gets at a time; it changes no bit of a feature.
        readers: Videos that are decoded at a time; 0 is one for each core, up to 4.
        device: "auto", "cpu", "cuda" or "cuda:N"; "auto" takes a GPU where there is one.
        keep_damaged: Keep the features before the damage of a damaged video instead of skipping it.
        strict: Stop at a video that cannot be used instead of skipping it.
    """

    videos: tuple[Path, ...]
    output: Path
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=Recipe)
    batch_size: int = 8
    readers: int = 0
    device: str = "auto"
    keep_damaged: bool = False
    strict: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 where videos were skipped."""
    return run_command(lambda: _extract(read_options(Arguments, "extract", __doc__, arguments)))


def _extract(chosen: Arguments) -> int:
    from asl_fast.video.extraction import extract_videos
    from asl_fast.video.found import find_video_files
    from asl_fast.video.known import open_backbone

    recipe = chosen.recipe
    recipe.check()
    if not 0 <= chosen.readers <= 64:
        raise ValueError(f"--readers must lie between 0 and 64, found {chosen.readers}")
    with if_stopped(f"what is extracted is kept in {chosen.output}, the same command goes on from there"):
        videos = find_video_files(chosen.videos)
        backbone = open_backbone(
            recipe.backbone,
            recipe.weights,
            window=recipe.window,
            device=chosen.device,
            precision=recipe.backbone_precision,
        )
        done = extract_videos(
            videos,
            chosen.output,
            backbone,
            recipe,
            batch_size=chosen.batch_size,
            readers=chosen.readers,
            keep_damaged=chosen.keep_damaged,
            strict=chosen.strict,
        )
    _report(done, backbone.dim, recipe)
    return 1 if done.skipped else 0


def _report(done: Extracted, dim: int, recipe: Recipe) -> None:
    from asl_fast.video.cached import problem_lines

    for line in problem_lines(done):
        print(printable(line), file=sys.stderr)
    seconds = sum(facts.duration_sec for facts in done.facts.values())
    kept = len(done.facts) - done.computed
    were = f", {kept} of them there already" if kept else ""
    print(
        f"{done.folder}: features of {count(len(done.facts), 'video')} ({seconds:.0f} s){were}, {dim} channels of "
        f"{count(recipe.window, 'frame')} every {recipe.stride}"
    )
    print(f"next: {program('train')} --annotations FILE.json --features {done.folder}")


if __name__ == "__main__":
    sys.exit(main())
