# SPDX-License-Identifier: Apache-2.0
"""Installs a wheel beside an interpreter that has nothing else, and runs it.

The interpreters are this one, those that lie on this machine, and Debian's, which are unpacked with a libc of their own
and not installed; for another architecture they run on an emulated processor (qemu's user mode).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from csrc.wheels.debian import RELEASES, NoPackage, unpacked
from csrc.wheels.headers import homes
from csrc.wheels.inspection import Unfit
from csrc.wheels.modules import Platform

CHECK = Path(__file__).with_name("soft_nms_check.py")
# A minimal Python, the modules of its standard library and what these load.
PACKAGES = ("python{}-minimal", "libpython{}-minimal", "libpython{}-stdlib", "libc6", "zlib1g", "libexpat1")


@dataclass(frozen=True)
class Unpacked:
    """An interpreter that is started by the loader of its own libc.

    Attributes:
        command: What starts it.
        home: Where its standard library lies.
        how: Where it comes from, in words.
    """

    command: tuple[str, ...]
    home: Path
    how: str


def interpreter(wanted: Platform) -> Path | None:
    """Return an interpreter of this machine that a wheel is for, or None."""
    if wanted.machine != platform.machine():
        return None
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == wanted.python:
        return Path(sys.executable)
    programs = (home / "bin" / f"python{wanted.python}" for home in homes(wanted.python))
    return next((program for program in programs if program.exists()), None)


def unpacked_interpreter(wanted: Platform, work: Path) -> Unpacked:
    """Unpack Debian's interpreter that a wheel is for, and what emulates its processor.

    Raises:
        NoPackage: There is none.
    """
    release = RELEASES.get(wanted.python)
    if release is None:
        raise NoPackage(f"no release of Debian has Python {wanted.python}")
    names = [name.format(wanted.python) for name in PACKAGES]
    root = unpacked(names, release, wanted.machine, work / f"python{wanted.python}-{wanted.machine}")
    loader = next(root.rglob("ld-linux-*.so.*"))
    libraries = ":".join(str(folder) for folder in root.rglob(f"{wanted.machine}-linux-gnu") if folder.is_dir())
    emulated = [] if wanted.machine == platform.machine() else [str(_emulator(wanted.machine, work))]
    command = [*emulated, str(loader), "--library-path", libraries, str(root / "usr/bin" / f"python{wanted.python}")]
    return Unpacked(tuple(command), root / "usr", f"Debian's, {'emulated' if emulated else 'unpacked'}")


def _emulator(machine: str, work: Path) -> Path:
    found = shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")
    if found:
        return Path(found)
    package = unpacked(["qemu-user-static"], "bookworm", platform.machine(), work / "qemu")
    return package / "usr/bin" / f"qemu-{machine}-static"


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


def try_unpacked(wheel: Path, wanted: Platform, found: Unpacked, folder: Path) -> str:
    """Install the wheel into ``folder`` as pip does for another platform, and compare soft-NMS with that interpreter.

    Raises:
        Unfit: It does not install, or gives other numbers.
    """
    shutil.rmtree(folder, ignore_errors=True)
    kind = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", wanted.python, "--abi", wanted.tag]
    alone = ["-q", "--no-deps", "--no-index", "--platform", wanted.manylinux, "--target", folder]
    _run(wheel, sys.executable, "-m", "pip", "install", *kind, *alone, wheel)
    said = _run(wheel, *found.command, "-s", CHECK, PYTHONHOME=str(found.home), PYTHONPATH=str(folder))
    shutil.rmtree(folder)
    return f"{said} ({found.how})"


def tried(wheel: Path, wanted: Platform, work: Path) -> str:
    """Run a wheel with whatever interpreter is to be had, and tell how, or why it was not run.

    Args:
        wheel: The file.
        wanted: What it is for.
        work: Folder for environments and for Debian's packages.

    Raises:
        Unfit: It does not install, or gives other numbers.
    """
    program = interpreter(wanted)
    if program is not None:
        return try_wheel(wheel, program, work / "trial")
    try:
        found = unpacked_interpreter(wanted, work / "debian")
    except NoPackage as reason:
        return f"inspected, not run: {reason}"
    return try_unpacked(wheel, wanted, found, work / "trial")


def _run(wheel: Path, *command: str | Path, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unfit(f"{wheel}: {' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()
