# SPDX-License-Identifier: Apache-2.0
"""Makes a virtual environment like that of a bare GPU machine, from packages that lie here: no network is needed.

    python .ci/bare_venv.py FOLDER [TRITON]

It has torch, numpy, pytest, pytest-benchmark, hypothesis, pybind11, ninja, pip and setuptools, what those need, and
nothing else: no tyro, no tqdm, no extra. They are linked from the environment of the Python that runs this. Triton is
the one in the folder TRITON, unpacked from its wheel, or the one that is installed here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

HAS = ("torch", "numpy", "pytest", "pytest-benchmark", "hypothesis", "pybind11", "ninja", "pip", "setuptools")
NAME = re.compile(r"[A-Za-z0-9._-]+")


def main(folder: Path, triton: Path | None) -> None:
    """Make it anew."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys._base_executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=variables))
    scripts = Path(sysconfig.get_path("scripts", vars=variables))
    for name in sorted(needed([*HAS, *(() if triton else ("triton",))])):
        link(name, site, scripts)
    if triton is not None:
        for path in triton.iterdir():
            (site / path.name).symlink_to(path.resolve())


def needed(names: list[str]) -> set[str]:
    """Return the distributions and all that they need, but for triton, which comes by itself."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name in found:
            continue
        try:
            requirements = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(name)
        names += [
            matched[0].lower().replace("_", "-")
            for text in requirements
            if "extra ==" not in text and (matched := NAME.match(text)) and matched[0] != "triton"
        ]
    return found


def link(name: str, site: Path, scripts: Path) -> None:
    """Link what a distribution put into this environment."""
    distribution = metadata.distribution(name)
    home = Path(str(distribution.locate_file(""))).resolve()
    for file in distribution.files or ():
        top = file.parts[0]
        if top == "..":
            if Path(file).parent.name == "bin" and name == "ninja":  # others' scripts name their own Python
                place(scripts / Path(file).name, (home / file).resolve())
        elif top not in ("__pycache__", ".."):
            place(site / top, home / top)


def place(at: Path, target: Path) -> None:
    """Link once; several distributions may share a folder."""
    if not at.exists() and target.exists():
        at.symlink_to(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
