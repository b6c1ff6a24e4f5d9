# SPDX-License-Identifier: Apache-2.0
"""What ``make wheels`` publishes: assembled, installed alone, run, and refused where it would not load."""

from __future__ import annotations

import re
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("elftools", reason="needs auditwheel")
pytest.importorskip("pybind11")
if sys.platform != "linux":
    pytest.skip("wheels are built on Linux", allow_module_level=True)

from asl_fast import __version__
from csrc.wheels import __main__ as wheels
from csrc.wheels import debian, headers
from csrc.wheels.inspection import Unfit, check_module, check_wheel
from csrc.wheels.modules import GLIBC, Platform
from csrc.wheels.trial import Unpacked, interpreter, tried, try_unpacked, try_wheel

ROOT = Path(__file__).resolve().parents[1]
HERE = Platform(f"{sys.version_info[0]}.{sys.version_info[1]}", "x86_64")
RECORD: dict[str, object] = {"python": HERE.python, "_native": {"built": True}, "_native_cuda": {"built": False}}


@pytest.fixture(scope="module")
def compiled() -> Path:
    """Take the module that make build left in this checkout, compiled by the system's compiler."""
    module = ROOT / "asl_fast" / f"_native{HERE.suffix}"
    if not module.exists():
        pytest.skip("needs make build, on x86-64")
    return module


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.source_archive(tmp_path_factory.mktemp("sdist"), tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def wheel(archive: Path, compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("wheel")
    content = wheels.plain_files(archive, work)
    return wheels.assemble(content, HERE, {"_native": compiled}, RECORD, work / "dist")


def test_the_source_archive_is_small_and_has_what_a_build_needs(archive: Path) -> None:
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"setup.py", "csrc/native_build.py", "csrc/cpu/simd.h", "kernels/soft_nms.py", "LICENSE"} <= names
    assert not any(name.endswith((".so", ".tar.xz")) for name in names)
    assert archive.stat().st_size < 4e6


def test_a_wheel_installs_in_a_bare_environment_and_runs_soft_nms(wheel: Path, tmp_path: Path) -> None:
    said = try_wheel(wheel, Path(sys.executable), tmp_path / "bare")
    assert f"soft_nms of _native{HERE.suffix} right, with torch" in said


def test_a_wheel_has_the_kernels_the_modules_of_its_platform_and_their_tags(wheel: Path) -> None:
    assert wheel.name == f"asl_fast-{__version__}-{HERE.tag}-{HERE.tag}-manylinux2014_x86_64.{HERE.manylinux}.whl"
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        metadata = packed.read(f"asl_fast-{__version__}.dist-info/METADATA").decode()
        record = packed.read(f"asl_fast-{__version__}.dist-info/RECORD").decode()
    assert {"asl_fast/kernels/soft_nms.py", f"asl_fast/_native{HERE.suffix}", "asl_fast/py.typed"} <= names
    assert [name for name in names if name.endswith(".so")] == [f"asl_fast/_native{HERE.suffix}"]
    assert f"asl_fast/_native{HERE.suffix},sha256=" in record
    for line in (
        "License-Expression: Apache-2.0",
        "Requires-Python: >=3.10",
        "Description-Content-Type: text/markdown",
    ):
        assert line in metadata
    classified = set(re.findall(r"Classifier: Programming Language :: Python :: (3\.\d+)", metadata))
    assert classified <= set(wheels.PYTHONS)
    assert HERE.python in classified


def test_what_would_not_load_elsewhere_is_refused(wheel: Path, compiled: Path) -> None:
    """This module was compiled for this system: it needs its C++ library and its glibc."""
    with pytest.raises(Unfit, match=r"needs libstdc\+\+\.so\.6.*which not every system has"):
        check_module(compiled, "x86_64", GLIBC)
    with pytest.raises(Unfit, match="is for EM_X86_64, expected EM_AARCH64"):
        check_module(compiled, "aarch64", GLIBC)
    with pytest.raises(Unfit, match=rf"auditwheel does not find it to be {HERE.manylinux}"):
        check_wheel(wheel, HERE.manylinux)


def test_headers_and_interpreter_of_this_python_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpreter(HERE) == Path(sys.executable)
    assert interpreter(Platform(HERE.python, "riscv64")) is None
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").exists():
        pytest.skip("needs Python's headers")
    monkeypatch.setenv("PYTHON_HEADERS", f"{tmp_path}:{include}")
    found = headers.headers(HERE.python, tmp_path / "work")
    assert f'"{sys.version.split()[0]}' in (found / "patchlevel.h").read_text()
    assert "SIZEOF_LONG 8" in (found / "pyconfig.h").read_text()


def test_headers_that_are_nowhere_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "RELEASES", {})
    with pytest.raises(headers.NoHeaders, match=r"install Python 3\.99 with its headers, or name .* PYTHON_HEADERS"):
        headers.headers("3.99", tmp_path)


def test_an_interpreter_that_is_nowhere_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels for it are inspected alone."""
    said = tried(tmp_path / "none.whl", Platform("3.99", "x86_64"), tmp_path)
    assert said == "inspected, not run: no release of Debian has Python 3.99"
    monkeypatch.setattr(debian, "KEYS", tmp_path / "none")
    said = tried(tmp_path / "none.whl", Platform("3.11", "aarch64"), tmp_path)
    assert said == "inspected, not run: this system has no apt-get with Debian's keys"
    with pytest.raises(headers.NoHeaders, match=r"no headers of Python 3\.11 found; .* Debian's keys"):
        headers.from_debian("3.11", tmp_path)


def test_a_wheel_runs_with_an_interpreter_that_was_only_unpacked(wheel: Path, tmp_path: Path) -> None:
    """Here this Python stands for one that its own loader starts."""
    base = Path(sysconfig.get_config_var("BINDIR") or "", f"python{HERE.python}")
    found = Unpacked((str(base),), Path(sys.base_prefix), "unpacked")
    said = try_unpacked(wheel, HERE, found, tmp_path / "beside")
    assert re.fullmatch(rf"soft_nms of _native{re.escape(HERE.suffix)} right, .*Python 3\.\d+\.\d+ \(unpacked\)", said)
    assert not (tmp_path / "beside").exists()


def test_the_archive_is_made_outside_the_checkout(archive: Path) -> None:
    assert not list(ROOT.glob("asl_fast-*"))
    with tarfile.open(archive) as packed:
        assert all(member.isfile() or member.isdir() for member in packed)
