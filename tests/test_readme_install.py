# SPDX-License-Identifier: Apache-2.0
"""README's own install commands, run as they stand in a fresh copy of the project, give the compiled ops."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from asl_fast.ops import _dispatch

ROOT = Path(__file__).resolve().parents[1]


def install_block() -> str:
    """Return the first shell block under README's heading Install."""
    section = (ROOT / "README.md").read_text().partition("\n## Install\n")[2].partition("\n## ")[0]
    block = re.search(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    assert block is not None, "README.md has no shell block under ## Install"
    return block[1]


def fresh_copy(target: Path) -> Path:
    """Everything that a clone would hold, uncommitted changes included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a git checkout: {error}")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def fresh_environment(folder: Path) -> dict[str, str]:
    """Variables of a new virtual environment that is active; what it needs is not downloaded but found in this one."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("needs pip")
    compiler = shutil.which("g++")
    if compiler is None or any(importlib.util.find_spec(name) is None for name in ("pybind11", "ninja", "setuptools")):
        pytest.skip("needs g++, pybind11, ninja and setuptools")
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "of_this_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    scripts = {
        # The variable for this option means the opposite in some versions of pip.
        "pip": f'command=$1; shift; exec {programs}/python -m pip "$command" --no-build-isolation "$@"',
        # Optimising would take most of the time and change nothing that is looked at here.
        "g++": f'exec {compiler} "$@" -O0',
    }
    for name, command in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{command}\n")
        (programs / name).chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "ASL_"))}
    return inherited | {
        "VIRTUAL_ENV": str(folder),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "ASL_FAST_CUDA": "0",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="replaces the compiler by a script, as on Linux")
@pytest.mark.timeout(900)
def test_the_install_block_gives_compiled_ops(tmp_path: Path) -> None:
    clone, environment = fresh_copy(tmp_path / "clone"), fresh_environment(tmp_path / "environment")
    block = install_block() + "\npython -m asl_fast.env --json > report.json\n"
    done = subprocess.run(
        ["bash", "-e"], input=block, cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Operators" in done.stdout, "the block shows which implementation every op uses"
    found = json.loads((clone / "report.json").read_text())["operators"]
    compiled = {op for op in found if "cpu" in _dispatch.implementations(op)}
    assert len(compiled) > 8
    assert {op: found[op]["cpu"]["implementation"] for op in compiled} == dict.fromkeys(compiled, "cpu")
    # From another folder too, and it is the clone's.
    code = "from asl_fast import native; print(native.cpu_module().__file__)"
    shown = subprocess.run(
        ["python", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(shown.stdout.strip()).parent == clone / "asl_fast"
