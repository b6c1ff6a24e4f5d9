# SPDX-License-Identifier: Apache-2.0
"""Write video clips of a moving square, with the actions in them as annotations.

The square rests, and every now and then moves right, moves left, bounces, or flickers. ``FOLDER`` gets
``videos/*.mp4`` and ``actions.json``, whose clips are split into training and test.

    python -m examples.video.moving_shapes FOLDER [CLIPS]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.files import write_json

HEIGHT, WIDTH, FPS = 72, 96, 25
ACTIONS = ("moves right", "moves left", "bounces", "flickers")
_SIDE = 20
_TEST_SHARE = 4


class Action(NamedTuple):
    """What the square does in frames ``[start, end)``."""

    kind: str
    start: int
    end: int


def draw_actions(random: np.random.Generator, seconds: float) -> tuple[list[Action], int]:
    """Draw actions of 1.2 to 3.2 s with rests of 1 to 3 s between them; also return the number of frames."""
    actions, frame = [], int(random.uniform(1, 3) * FPS)
    while frame < (seconds - 5) * FPS:
        end = frame + int(random.uniform(1.2, 3.2) * FPS)
        actions.append(Action(str(random.choice(ACTIONS)), frame, end))
        frame = end + int(random.uniform(1, 3) * FPS)
    return actions, int(seconds * FPS)


def draw_frames(random: np.random.Generator, actions: list[Action], number: int) -> Iterator[NDArray[np.uint8]]:
    """Draw the frames of a clip."""
    background, colour = random.integers(20, 90, 3), random.integers(150, 255, 3)
    top, left = random.uniform(15, HEIGHT - 15 - _SIDE), random.uniform(0, WIDTH - _SIDE)
    at = {frame: action for action in actions for frame in range(action.start, action.end)}
    for frame in range(number):
        action = at.get(frame)
        kind, height, shade = action.kind if action else None, 0.0, 1.0
        if action is not None and kind == "bounces":
            height = 12 * abs(np.sin(np.pi * (frame - action.start) / 10))
        if kind == "flickers" and frame % 4 < 2:
            shade = 0.4
        # It leaves on one side and comes back on the other, so that where it is tells nothing.
        left = (left + 2 * (kind == "moves right") - 2 * (kind == "moves left")) % WIDTH
        image = np.broadcast_to(background, (HEIGHT, WIDTH, 3)) + random.integers(-3, 4, (HEIGHT, WIDTH, 1))
        rows = int(top - height) + np.arange(_SIDE)
        columns = (int(left) + np.arange(_SIDE)) % WIDTH
        image[np.ix_(rows, columns)] = colour * shade
        yield image.clip(0, 255).astype(np.uint8)


def write_clips(folder: Path, clips: int = 48, seconds: float = 20.0, seed: int = 0) -> Path:
    """Write clips and their annotations; return the annotation file."""
    import av

    (folder / "videos").mkdir(parents=True, exist_ok=True)
    database: dict[str, Any] = {}
    for clip in range(clips):
        random = np.random.default_rng([seed, clip])
        actions, number = draw_actions(random, seconds)
        name = f"shapes-{clip:02d}"
        with av.open(str(folder / "videos" / f"{name}.mp4"), "w") as container:
            stream: Any = container.add_stream("libx264", rate=FPS)
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
            # A key frame each second, so that a player jumps to where one clicks.
            stream.options = {"preset": "ultrafast", "g": str(FPS), "crf": "26"}
            for index, image in enumerate(draw_frames(random, actions, number)):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        database[name] = {
            "subset": "test" if clip % _TEST_SHARE == _TEST_SHARE - 1 else "train",
            "duration": number / FPS,
            "annotations": [
                {"label": action.kind, "segment": [action.start / FPS, action.end / FPS]} for action in actions
            ],
        }
    write_json(folder / "actions.json", {"database": database}, indent=1)
    return folder / "actions.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    folder, *rest = sys.argv[1:] if arguments is None else arguments
    path = write_clips(Path(folder), *map(int, rest))
    print(f"{path}: {len(list((path.parent / 'videos').glob('*.mp4')))} clips in {path.parent / 'videos'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
