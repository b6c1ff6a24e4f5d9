# SPDX-License-Identifier: Apache-2.0
"""Debian's packages, downloaded and unpacked into a folder, not installed: of any release and architecture."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

# The release whose standard Python has this version.
RELEASES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "forky"}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NoPackage(Exception):
    """Why a package is not to be had."""


def unpacked(packages: Sequence[str], release: str, machine: str, root: Path) -> Path:
    """Fill a folder with the content of packages, as it would lie under ``/``, and return it.

    Args:
        packages: Their names; what they depend on does not come along.
        release: Of Debian.
        machine: Their architecture, as wheels name it.
        root: The folder; if it is there, it is taken as it is.

    Raises:
        NoPackage: This is no Debian, or its mirror has no such package.
    """
    if root.exists():
        return root
    if not KEYS.exists() or shutil.which("apt-get") is None:
        raise NoPackage("this system has no apt-get with Debian's keys")
    configured = _configured(release, ARCHITECTURES[machine], root.parent / f"apt-{release}-{machine}")
    fresh = root.with_name(f".{root.name}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    _run(["apt-get", "-c", str(configured), "-q", "download", *packages], fresh)
    for package in fresh.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(fresh)], fresh)
        package.unlink()
    return fresh.rename(root)


def _configured(release: str, architecture: str, folder: Path) -> Path:
    """Return the configuration of an apt that has lists of its own, which are brought up to date."""
    for needed in ("lists/partial", "archives/partial", "etc"):
        (folder / needed).mkdir(parents=True, exist_ok=True)
    asked = ["apt-get", "indextargets", "--format", "$(SITE)", "Origin: Debian", "Component: main"]
    sites = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    mirrors = [site for site in sites if site.rstrip("/").endswith("/debian")]
    if not mirrors:
        raise NoPackage("apt knows no mirror of Debian")
    (folder / "etc/sources.list").write_text(f"deb [signed-by={KEYS}] {mirrors[0]} {release} main\n")
    (folder / "status").touch()
    configuration = folder / "apt.conf"
    configuration.write_text(
        f'Dir::State::lists "{folder}/lists";\nDir::State::status "{folder}/status";\n'
        f'Dir::Cache::archives "{folder}/archives";\nDir::Etc::sourcelist "{folder}/etc/sources.list";\n'
        f'Dir::Etc::sourceparts "/dev/null";\nDir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
        f'APT::Architecture "{architecture}";\nAPT::Architectures {{"{architecture}";}};\nAPT::Sandbox::User "";\n'
    )
    _run(["apt-get", "-c", str(configuration), "-q", "update"], folder)
    return configuration


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoPackage(f"{' '.join(command)} failed: {done.stderr.strip()}")
