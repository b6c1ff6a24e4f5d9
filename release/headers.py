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
import subprocess
from collections.abc import Iterator
from pathlib import Path

# The release of Debian whose standard Python has this version.
DEBIAN = {"3.11": "bookworm", "3.13": "trixie", "3.14": "forky"}
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NoHeaders(Exception):
    """Why the headers of a version are not to be had, and what to do about it."""


def headers(version: str, work: Path) -> Path:
    """Return a folder that has all headers of one CPython and nothing else.

    Args:
        version: Such as "3.12".
        work: Folder for the copies; what lies there already is taken as it is.

    Raises:
        NoHeaders: Neither an interpreter nor a package was found.
    """
    target = work / f"python{version}"
    if (target / "Python.h").exists():
        return target
    found = next(installed(version), None) or from_debian(version, work / f"debian-{version}")
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
    """Download ``libpythonX.Y-dev`` with an apt that has its own lists, and unpack it under ``work``."""
    asked = f"install Python {version} with its headers, or name their folder in PYTHON_HEADERS"
    release = DEBIAN.get(version)
    if release is None or not KEYS.exists() or shutil.which("apt-get") is None:
        raise NoHeaders(f"no headers of Python {version} found; {asked}")
    for needed in ("lists/partial", "archives/partial", "etc"):
        (work / needed).mkdir(parents=True, exist_ok=True)
    uris = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Origin: Debian", "Component: main"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    mirrors = [uri for uri in uris if uri.rstrip("/").endswith("/debian")]
    if not mirrors:
        raise NoHeaders(f"no headers of Python {version} found, and apt knows no mirror of Debian; {asked}")
    (work / "etc/sources.list").write_text(f"deb [signed-by={KEYS}] {mirrors[0]} {release} main\n")
    (work / "apt.conf").write_text(
        f'Dir::State::lists "{work}/lists";\nDir::Cache::archives "{work}/archives";\n'
        f'Dir::Etc::sourcelist "{work}/etc/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\nAPT::Architectures {"amd64";};\n'
        'APT::Sandbox::User "";\n'
    )
    for command in (["update"], ["download", f"libpython{version}-dev:amd64"]):
        done = subprocess.run(
            ["apt-get", "-c", str(work / "apt.conf"), "-q", *command], cwd=work, capture_output=True, text=True
        )
        if done.returncode:
            raise NoHeaders(f"apt-get {' '.join(command)} ({release}) failed; {asked}:\n{done.stderr.strip()}")
    for package in work.glob(f"libpython{version}-dev*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(work / "root")], check=True)
    folder = work / "root/usr/include" / f"python{version}"
    if not (folder / "Python.h").exists():
        raise NoHeaders(f"Debian's libpython{version}-dev ({release}) has no Python.h; {asked}")
    return folder
