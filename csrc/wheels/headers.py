# SPDX-License-Identifier: Apache-2.0
"""Finds the headers of a CPython, whether or not that version can run here.

They come from an interpreter that lies on this machine, or else out of Debian's package, which is unpacked and not
installed. One set serves x86-64 and aarch64: under Linux what CPython's headers ask of ``pyconfig.h`` (sizes of types,
order of bytes, what libc has) is equal on both.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from csrc.wheels.debian import RELEASES, NoPackage, unpacked


class NoHeaders(Exception):
    """Why the headers of a version are not to be had, and what to do about it."""


def headers(version: str, work: Path) -> Path:
    """Return a folder that has all headers of one CPython and nothing else.

    Args:
        version: Such as "3.12".
        work: Folder for the copies; what lies there already is taken as it is, also among Debian's packages beside it.

    Raises:
        NoHeaders: Neither an interpreter nor a package was found.
    """
    target = work / f"python{version}"
    if (target / "Python.h").exists():
        return target
    found = next(installed(version), None) or from_debian(version, work.parent / "debian")
    fresh = work / f".python{version}"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(found, fresh)
    # Debian's own pyconfig.h includes one that lies in a folder per architecture, among the headers of libc.
    for split in found.parent.glob(f"x86_64-linux-gnu/python{version}/pyconfig.h"):
        shutil.copy2(split, fresh / "pyconfig.h")
    fresh.replace(target)
    return target


def installed(version: str) -> Iterator[Path]:
    """Find folders with ``Python.h`` where interpreters put them: the system, those on the path, pyenv, uv, a list.

    ``PYTHON_HEADERS`` is that list: folders that hold ``Python.h``, joined by colons.
    """
    for given in filter(None, os.environ.get("PYTHON_HEADERS", "").split(os.pathsep)):
        macros = Path(given, "patchlevel.h")
        if macros.exists() and _version(macros) == version:
            yield macros.parent
    for home in homes(version):
        folder = home / "include" / f"python{version}"
        if (folder / "Python.h").exists():
            yield folder


def homes(version: str) -> list[Path]:
    """List the folders that interpreters of one version may be installed in, with ``bin`` and ``include`` below."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python")
    program = shutil.which(f"python{version}")
    return [
        *(Path(program).resolve().parents[1:2] if program else ()),
        *sorted(pyenv.glob(f"{version}.*")),
        *sorted(uv.glob(f"cpython-{version}.*")),
        Path("/usr/local"),
        Path("/usr"),
    ]


def _version(macros: Path) -> str:
    text = macros.read_text()
    major, minor = (re.search(rf"PY_{part}_VERSION\s+(\d+)", text) for part in ("MAJOR", "MINOR"))
    return f"{major[1]}.{minor[1]}" if major and minor else ""


def from_debian(version: str, work: Path) -> Path:
    """Take the headers out of Debian's ``libpythonX.Y-dev``, unpacked under ``work``."""
    asked = f"install Python {version} with its headers, or name their folder in PYTHON_HEADERS"
    release = RELEASES.get(version)
    if release is None:
        raise NoHeaders(f"no headers of Python {version} found; {asked}")
    try:
        root = unpacked([f"libpython{version}-dev"], release, "x86_64", work / f"headers{version}")
    except NoPackage as reason:
        raise NoHeaders(f"no headers of Python {version} found; {asked} ({reason})") from reason
    return root / "usr/include" / f"python{version}"
