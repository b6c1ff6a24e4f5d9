# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.train``: train a detector, score it, and leave a run folder behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from asl_fast.training.run import main as run_main


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    return run_main(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
