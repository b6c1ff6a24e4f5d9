# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.own_data``: SHREC'22 or SHREC'21 in the form of data of one's own.

Writes ``annotations.json`` and ``features/``: per recording an array (steps, channels) of the joints' coordinates in
metres, at the track's even rate, as they are. With ``--every N`` only every N-th training recording by name, the first
included, is among the annotations; the test recordings stay. docs/results.md says what was trained on them:

    python -m benchmarks.own_data --dataset shrec22 --data-root DIR --output build/shrec22 --every 4
    asl-fast train --annotations build/shrec22/annotations.json --features build/shrec22/features --preset reduced
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from asl_fast.command_line.errors import run_command
from asl_fast.data.datasets.shrec import SHREC21, SHREC22, read_track
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.manifest_file import MANIFEST_NAME, write_manifest
from asl_fast.files import atomic_write, write_json
from asl_fast.wording import count

TRACKS = {track.name: track for track in (SHREC22, SHREC21)}


@dataclass(frozen=True)
class OwnForm:
    """Write a gesture track as data of one's own.

    Attributes:
        data_root: Folder of the organisers' files, or of the packed form.
        output: Folder for annotations and features.
        dataset: Which track.
        every: Keep every N-th training recording, by name.
    """

    data_root: Path
    output: Path
    dataset: Literal["shrec22", "shrec21"] = "shrec22"
    every: int = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(lambda: _main(tyro.cli(OwnForm, prog="python -m benchmarks.own_data", args=arguments)))


def _main(asked: OwnForm) -> int:
    if asked.every < 1:
        raise ValueError(f"--every must be at least 1, found {asked.every}")
    recordings = read_track(TRACKS[asked.dataset], asked.data_root)
    names, videos = recordings.annotations.class_names, recordings.annotations.videos
    training = sorted(key for key, video in videos.items() if video.subset == "train")
    left_out = set(training) - set(training[:: asked.every])
    database = {}
    features = asked.output / "features"
    features.mkdir(parents=True, exist_ok=True)
    for key, video in videos.items():
        if key in left_out:
            continue
        with atomic_write(features / f"{key}.npy") as file:
            np.save(file, recordings.signals[key])
        actions = zip(video.segments_sec.tolist(), video.labels.tolist(), strict=True)
        listed = [{"segment": segment, "label": names[label]} for segment, label in actions]
        database[key] = {"subset": video.subset, "duration": video.duration_sec, "annotations": listed}
    width = sum(group.size for group in recordings.channels)
    layout = FeatureManifest(asked.dataset, width, 1, 1, recordings.rate_hz)
    write_manifest(features / MANIFEST_NAME, layout, {})
    write_json(asked.output / "annotations.json", {"version": asked.dataset, "database": database})
    print(f"{count(len(database), 'recording')} written to {asked.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
