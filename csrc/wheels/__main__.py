# SPDX-License-Identifier: Apache-2.0
"""Builds and checks the source archive and the wheels: ``python -m csrc.wheels``, or ``make wheels``.

The Python code of all wheels is one, and is taken from the source archive as it was written; compiled modules and tags
are added per platform. pybind11 does not know the limited API, hence one wheel per version of CPython.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from csrc.wheels.headers import NoHeaders, headers
from csrc.wheels.inspection import check_module, check_wheel, describe
from csrc.wheels.modules import ARCHITECTURES, GLIBC, ROOT, NotBuilt, Platform, build_cpu, build_cuda
from csrc.wheels.trial import tried

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
WORK = ROOT / "build" / "wheels"


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> None:
    """Run a command; what it printed is shown only when it fails."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")


def source_archive(output: Path, work: Path) -> Path:
    """Write the source archive into ``output`` and return it."""
    # setuptools lays the archive's content out in the folder that it runs in, which must not be the checkout: so it
    # runs in one that has the same files, folders as links.
    checkout, fresh = _empty(work / "checkout"), _empty(work / "sdist")
    for entry in ROOT.iterdir():
        if entry.is_file():
            shutil.copy2(entry, checkout)
        elif entry.name not in ("build", "dist") and entry.suffix != ".egg-info" and entry.name[0] != ".":
            (checkout / entry.name).symlink_to(entry)
    run(sys.executable, "setup.py", "-q", "sdist", "-d", fresh, cwd=checkout)
    (made,) = fresh.glob("*.tar.gz")
    output.mkdir(parents=True, exist_ok=True)
    return made.replace(output / made.name)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def plain_files(archive: Path, work: Path) -> Path:
    """Return a folder with everything a wheel holds but for compiled modules, made from the source archive alone."""
    for folder in ("source", "plain", "content"):
        shutil.rmtree(work / folder, ignore_errors=True)
    with tarfile.open(archive) as packed:
        packed.extractall(work / "source")  # our own archive, made a moment ago
    (source,) = (work / "source").iterdir()
    without = {"ASL_FAST_NATIVE": "0", "ASL_FAST_CUDA": "0"}
    run(sys.executable, "setup.py", "-q", "bdist_wheel", "-d", work / "plain", cwd=source, **without)
    (wheel,) = (work / "plain").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed_wheel:
        packed_wheel.extractall(work / "content")
    return work / "content"


def assemble(content: Path, platform: Platform, modules: dict[str, Path], record: dict[str, object], to: Path) -> Path:
    """Put the compiled modules of a platform to the plain files, and write the wheel.

    Args:
        content: From :func:`plain_files`.
        platform: What the modules were compiled for.
        modules: Files by the name of the module.
        record: What ``asl_fast/_build_info.json`` tells.
        to: Folder of the wheel.
    """
    folder = content.parent / f"{platform.tag}-{platform.machine}-content"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(content, folder)
    for name, module in modules.items():
        shutil.copy2(module, folder / "asl_fast" / f"{name}{platform.suffix}")
    (folder / "asl_fast" / "_build_info.json").write_text(json.dumps(record, indent=2) + "\n")
    (tags,) = folder.glob("*.dist-info/WHEEL")
    # manylinux_2_17 had another name before it had a number, which is all that an older pip knows.
    platforms = [platform.manylinux, *([f"manylinux2014_{platform.machine}"] if GLIBC == (2, 17) else [])]
    lines = [line for line in tags.read_text().splitlines() if line and not line.startswith("Tag:")]
    lines += [f"Tag: {platform.tag}-{platform.tag}-{name}" for name in platforms]
    tags.write_text("\n".join(lines) + "\n")
    fresh = _empty(content.parent / "packed")
    run(sys.executable, "-m", "wheel", "pack", folder, "-d", fresh)
    shutil.rmtree(folder)
    (made,) = fresh.glob("*.whl")
    to.mkdir(parents=True, exist_ok=True)
    return made.replace(to / made.name)


def build_wheel(platform: Platform, content: Path, output: Path) -> Path:
    """Compile for a platform, check what came out and write its wheel."""
    include = headers(platform.python, WORK / "headers")
    record: dict[str, object] = {"python": platform.python, "platform": f"linux-{platform.machine}"}
    modules = {}
    for name, build in (("_native", build_cpu), ("_native_cuda", build_cuda)):
        try:
            modules[name], record[name] = build(platform, include, WORK)
        except NotBuilt as reason:
            if name == "_native" or os.environ.get("ASL_FAST_CUDA") == "1":
                raise
            print(f"  without {name}: {str(reason).splitlines()[0]}", flush=True)
            record[name] = {"built": False, "reason": str(reason)}
    for module in modules.values():
        check_module(module, platform.machine, GLIBC)
    return assemble(content, platform, modules, record, output)


def git_time() -> str:
    """Seconds since 1970 of the last commit: the same files give the same wheel."""
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "315532800"


def main(arguments: list[str] | None = None) -> int:
    """Build what is asked for; every wheel that an interpreter is to be had for is run beside nothing else."""
    parser = argparse.ArgumentParser(prog="python -m csrc.wheels", description=str(__doc__).splitlines()[0])
    parser.add_argument("--python", nargs="+", default=PYTHONS, choices=PYTHONS, help="versions of CPython")
    parser.add_argument("--machine", nargs="+", default=ARCHITECTURES, choices=ARCHITECTURES, help="architectures")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the files (default: dist)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("SOURCE_DATE_EPOCH", git_time())
    output = options.output.resolve()
    archive = source_archive(output, WORK)
    print(describe(archive), flush=True)
    content = plain_files(archive, WORK)
    made = [archive]
    try:
        for machine in options.machine:
            for python in options.python:
                platform = Platform(python, machine)
                made.append(build_wheel(platform, content, output))
                check_wheel(made[-1], platform.manylinux)
                print(f"{describe(made[-1])}; {tried(made[-1], platform, WORK)}", flush=True)
    except (NotBuilt, NoHeaders) as reason:
        raise SystemExit(str(reason)) from reason
    run(sys.executable, "-m", "twine", "check", "--strict", *made)
    print(f"{len(made)} files in {output}; descriptions render (twine)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
