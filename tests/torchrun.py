# SPDX-License-Identifier: Apache-2.0
"""Several processes on the CPU that run one script, started by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def torchrun(code: str, script: Path, *arguments: str | Path, processes: int) -> subprocess.CompletedProcess[str]:
    """Write ``code`` to ``script``, run it in some processes, and return what they printed; all must end well."""
    script.write_text(code)
    launcher = (sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone")
    done = subprocess.run(
        [*launcher, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done
