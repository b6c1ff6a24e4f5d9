# SPDX-License-Identifier: Apache-2.0
"""What setup.py makes of a clean copy of the project: with a compiler, without, with a broken one, and again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOY_MODULE = """
#include <Python.h>
#include "cpu/toy.h"
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", nullptr, -1};
PyMODINIT_FUNC PyInit__native() {
    PyObject* module = PyModule_Create(&definition);
    PyModule_AddIntConstant(module, "seven", asl::seven());
    return module;
}
"""

pytest.importorskip("pybind11")
pytest.importorskip("ninja")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy everything the build reads, with nothing that an earlier build left."""
    copy = tmp_path / "project"
    skip = shutil.ignore_patterns("__pycache__", "*.so", "_build_info.json", "*.egg-info")
    for folder in ("asl_fast", "kernels", "csrc"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=skip)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    return copy


def toy_sources(project: Path) -> None:
    """Replace the operators by a tiny one without pybind11, so that a build takes seconds."""
    if not any(map(shutil.which, ("g++", "c++", "clang++"))):
        pytest.skip("needs a C++ compiler")
    cpu = project / "csrc" / "cpu"
    shutil.rmtree(cpu)
    cpu.mkdir()
    (cpu / "toy.h").write_text("namespace asl { int seven(); }\n")
    (cpu / "toy.cpp").write_text('#include "cpu/toy.h"\nint asl::seven() { return 7; }\n')
    (project / "csrc" / "module.cpp").write_text(TOY_MODULE)


def run(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ASL_FAST_CUDA": "0", "PIP_NO_INDEX": "1", **variables}
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def build(project: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(project, "setup.py", "build_ext", "--inplace", *options, **variables)


def record(project: Path) -> dict[str, dict[str, object]]:
    info: dict[str, dict[str, object]] = json.loads((project / "asl_fast" / "_build_info.json").read_text())
    return info


@pytest.mark.slow
def test_a_wheel_without_a_compiler_is_whole_and_says_what_is_missing(project: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    arguments = ("-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation", "-w", str(wheels), ".")
    done = run(project, *arguments, CXX="no-such-compiler")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the package works without it: no C++ compiler found (tried no-such-compiler)" in done.stdout + done.stderr
    (wheel,) = wheels.glob("asl_fast-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"asl_fast/{path.relative_to(project / 'asl_fast')}" for path in (project / "asl_fast").rglob("*.py")}
    modules |= {f"asl_fast/kernels/{path.name}" for path in (project / "kernels").glob("*.py")}
    page = project / "asl_fast" / "reporting" / "page"
    modules |= {f"asl_fast/reporting/page/{path.name}" for path in page.iterdir()}
    assert modules | {"asl_fast/py.typed", "asl_fast/_build_info.json"} <= names
    assert not any(name.startswith(("tests/", "csrc/", "kernels/", "benchmarks/")) for name in names)

    installed = tmp_path / "installed"  # -S: an editable installation in this interpreter must not be found instead
    zipfile.ZipFile(wheel).extractall(installed)
    code = "from asl_fast import native; print(native.__file__); print(native.cpu_module(), native.why_missing())"
    shown = run(tmp_path, "-S", "-c", code, PYTHONPATH=str(installed))
    assert shown.stdout.startswith(str(installed)), shown.stderr
    assert "None asl_fast._native was not built: no C++ compiler found" in shown.stdout


def test_a_rebuild_compiles_only_what_changed(project: Path) -> None:
    toy_sources(project)
    first = build(project, "--strict")
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count("] compile ") == 2
    assert record(project)["_native"]["built"] is True
    assert "no work to do" in build(project, "--strict").stdout

    source = project / "csrc" / "cpu" / "toy.cpp"
    source.write_text(source.read_text().replace("7", "8"))
    second = build(project, "--strict")
    assert second.stdout.count("] compile ") == 1
    assert "toy.cpp" in second.stdout
    loaded = run(project, "-c", "from asl_fast import _native; print(_native.seven)")
    assert loaded.stdout == "8\n", loaded.stderr

    header = project / "csrc" / "cpu" / "toy.h"
    header.write_text(header.read_text() + "// changed\n")
    assert build(project, "--strict").stdout.count("] compile ") == 2


def test_a_failing_compiler_is_fatal_only_when_asked(project: Path) -> None:
    toy_sources(project)
    (project / "csrc" / "cpu" / "toy.cpp").write_text("this is not C++\n")
    lenient = build(project)
    assert lenient.returncode == 0, lenient.stderr
    assert "compilation failed" in str(record(project)["_native"]["reason"])
    assert "error" in str(record(project)["_native"]["reason"])
    for options, variables in ((("--strict",), {}), ((), {"ASL_FAST_NATIVE": "1"})):
        strict = build(project, *options, **variables)
        assert strict.returncode != 0
        assert "asl_fast._native: compilation failed" in strict.stderr


def test_settings_that_cannot_be_met_are_errors(project: Path, tmp_path: Path) -> None:
    without_nvcc = {"ASL_FAST_NATIVE": "0", "ASL_FAST_CUDA": "1", "NVCC": "no-such-nvcc", "CUDA_HOME": str(tmp_path)}
    if not Path("/usr/local/cuda/bin/nvcc").exists():
        done = build(project, **without_nvcc)
        assert done.returncode != 0
        assert "no nvcc found" in done.stderr
    done = build(project, ASL_FAST_NATIVE="yes")
    assert done.returncode != 0
    assert "ASL_FAST_NATIVE='yes': expected 0, 1 or nothing" in done.stderr


def test_switched_off_modules_are_recorded_and_removed(project: Path) -> None:
    toy_sources(project)
    assert build(project, "--strict").returncode == 0
    assert list((project / "asl_fast").glob("_native*"))
    assert build(project, ASL_FAST_NATIVE="0").returncode == 0
    assert not list((project / "asl_fast").glob("_native*"))
    assert record(project)["_native"] == {"built": False, "reason": "ASL_FAST_NATIVE=0 at build time"}
