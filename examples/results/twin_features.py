# SPDX-License-Identifier: Apache-2.0
"""Write the features of a synthetic twin's test videos as .npy files, for ``detect``.

usage: python examples/results/twin_features.py multithumos smoke FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from asl_fast.data.load import load_dataset


def main(words: list[str]) -> int:
    """Write one file for each test video."""
    if len(words) != 3:
        sys.exit(__doc__)
    name, scale, folder = words[0], words[1], Path(words[2])
    folder.mkdir(parents=True, exist_ok=True)
    bundle = load_dataset(name, None, synthetic_scale=scale)
    for video in bundle.test.videos:
        np.save(folder / f"{video.id}.npy", bundle.test.store.load(video.id))
    print(f"features of {len(bundle.test)} test videos in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
