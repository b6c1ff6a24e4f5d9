# SPDX-License-Identifier: Apache-2.0
"""Installs a wheel in an environment that holds nothing else, and runs it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from release.headers import homes
from release.inspection import Unfit
from release.modules import Platform

CHECK = Path(__file__).with_name("soft_nms_check.py")


def interpreter(wanted: Platform) -> Path | None:
    """Return an interpreter of this machine that a wheel is for, or None."""
    if wanted.machine != platform.machine():
        return None
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == wanted.python:
        return Path(sys.executable)
    programs = (home / "bin" / f"python{wanted.python}" for home in homes(wanted.python))
    return next((program for program in programs if program.exists()), None)


def try_wheel(wheel: Path, program: Path, folder: Path) -> str:
    """Make the environment in ``folder``, install the wheel without what it needs, and compare soft-NMS there.

    An interpreter of this environment's own version finds torch here, so that the public function runs too.

    Raises:
        Unfit: It does not install, or gives other numbers.
    """
    shutil.rmtree(folder, ignore_errors=True)
    here = program == Path(sys.executable)
    base = Path(str(getattr(sys, "_base_executable", sys.executable))) if here else program
    _run(wheel, base, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    _run(wheel, sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    if here:
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "of_this_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    said = _run(wheel, python, "-I", CHECK)
    shutil.rmtree(folder)
    return said


def _run(wheel: Path, *command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unfit(f"{wheel}: {' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()
