# SPDX-License-Identifier: Apache-2.0
"""Train a detector, score it, and leave a run folder behind.

Without --data-root or --annotations it trains on a benchmark's synthetic twin.

Defaults are those of the --dataset, --preset and --variant beside --help.

Examples:
    python -m asl_fast.train --dataset multithumos --preset smoke
    python -m asl_fast.train --dataset thumos14 --data-root data/thumos14
    python -m asl_fast.train --annotations mine.json --features features/
    python -m asl_fast.train --annotations mine.json --videos videos/
    python -m asl_fast.train --annotations mine.json --features i3d/ --init-from e.pth.tar --af-config thumos_i3d.yaml
    python -m asl_fast.train --resume --output runs/thumos14-001
    torchrun --nproc-per-node 2 -m asl_fast.train --dataset thumos14 --data-root data/thumos14
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from asl_fast.command_line.errors import CommandError, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 where training failed."""
    return run_command(lambda: _train(sys.argv[1:] if arguments is None else list(arguments)))


def _train(words: list[str]) -> int:
    from asl_fast.training.request import parse

    request = parse(words, about=__doc__)

    from asl_fast.training.loop import NonFiniteLossError
    from asl_fast.training.run import run

    try:
        run(request, words)
    except NonFiniteLossError as error:
        raise CommandError(error, status=1) from error

    from asl_fast.reporting.write import write_page_after_training

    write_page_after_training(request.folder.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
