# SPDX-License-Identifier: Apache-2.0
"""The environment report and the door to the compiled modules, with everything there and with things missing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast import env, environment, native
from asl_fast.evaluation.conventions import ACTIONFORMER
from asl_fast.evaluation.matching import match_segments


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    """Forgets which modules were loaded, before and after a test that pretends otherwise."""
    for function in (native.build_info, native._load):
        function.cache_clear()
    yield
    for function in (native.build_info, native._load):
        function.cache_clear()


def forget_modules(monkeypatch: pytest.MonkeyPatch, package: Path, error: str = "No module named it") -> None:
    """Make every import of a compiled module fail, as seen from a package installed in ``package``."""

    def fail(name: str) -> Any:
        raise ImportError(error)

    monkeypatch.setattr(native, "import_module", fail)
    monkeypatch.setattr(native, "PACKAGE", package)


def test_a_present_module_has_no_reason_to_be_missing() -> None:
    for kind, module in (("cpu", native.cpu_module()), ("cuda", native.cuda_module())):
        assert (module is None) == (native.why_missing(kind) is not None)  # type: ignore[arg-type]


def test_cuda_module_without_a_device_loads_and_says_so() -> None:
    module = native.cuda_module()
    if module is None:
        pytest.skip(f"{native.why_missing('cuda')}")
    if torch.cuda.is_available():
        pytest.skip("there is a device")
    assert native.cuda_devices() == []
    assert module.devices() == []
    assert module.device_error()


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        ("sm_80 sm_90 sm_100 compute_100", (9, 0), True),
        ("sm_80 sm_90 sm_100 compute_100", (8, 9), True),  # machine code runs on later devices of a generation
        ("sm_80 sm_90 sm_100 compute_100", (7, 5), False),
        ("sm_86", (8, 0), False),
        ("sm_90", (10, 0), False),
        ("sm_90 compute_90", (10, 0), True),  # the driver translates PTX
        ("sm_90 compute_90", (8, 0), False),
        ("sm_90a compute_90a", (9, 0), True),
        ("sm_90a compute_90a", (10, 0), False),  # for that device alone
        ("sm_100f", (10, 3), False),
        ("host", (9, 0), False),
        ("", (9, 0), False),
    ],
)
def test_which_devices_a_build_runs_on(architectures: str, capability: tuple[int, int], runs: bool) -> None:
    assert native.has_image(architectures, capability) == runs


def test_every_device_has_to_have_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, Any]] = []
    module = SimpleNamespace(architectures="sm_80 sm_90", devices=lambda: found, device_error=lambda: "no driver")
    monkeypatch.setattr(native, "cuda_module", lambda: module)
    assert native.why_cuda_cannot_run() == "the CUDA operators see no device: no driver"
    found.append({"name": "H100", "capability": (9, 0)})
    assert native.why_cuda_cannot_run() is None
    found.append({"name": "T4", "capability": (7, 5)})
    reason = str(native.why_cuda_cannot_run())
    assert "built for sm_80 sm_90, which T4 (sm_75) cannot run; rebuild with ASL_FAST_CUDA_ARCHS=75" in reason
    monkeypatch.setattr(environment, "_devices", lambda: [{"name": "T4"}])
    assert any(reason in sentence for sentence in environment.describe()["advice"])


def test_why_missing_when_never_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_modules(monkeypatch, tmp_path)
    assert native.cpu_module() is None
    assert native.cuda_devices() == []
    assert "never built" in str(native.why_missing())


def test_why_missing_repeats_the_reason_of_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"python": "3.11.7", "_native": {"built": False, "reason": "no C++ compiler found"}}
    (tmp_path / "_build_info.json").write_text(json.dumps(record))
    forget_modules(monkeypatch, tmp_path)
    assert str(native.why_missing()).endswith("was not built: no C++ compiler found")


def test_why_missing_when_built_for_another_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_build_info.json").write_text(json.dumps({"python": "3.7.0", "_native_cuda": {"built": True}}))
    forget_modules(monkeypatch, tmp_path)
    assert "built for Python 3.7.0" in str(native.why_missing("cuda"))


def test_why_missing_when_the_library_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"_native{EXTENSION_SUFFIXES[0]}").touch()
    forget_modules(monkeypatch, tmp_path, "GLIBCXX_3.4.99 not found")
    assert "does not load here (GLIBCXX_3.4.99 not found)" in str(native.why_missing())


def test_a_damaged_build_record_does_not_hide_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_build_info.json").write_text("{")
    forget_modules(monkeypatch, tmp_path)
    assert "never built" in str(native.why_missing())


def test_an_installed_build_that_this_tree_hides_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone, installed = tmp_path / "clone" / "asl_fast", tmp_path / "site-packages" / "asl_fast"
    for folder in (clone, installed):
        folder.mkdir(parents=True)
    (clone.parent / "setup.py").touch()
    (installed / f"_native{EXTENSION_SUFFIXES[0]}").touch()
    forget_modules(monkeypatch, clone)
    monkeypatch.setattr(sys, "path", [str(clone.parent), str(installed.parent)])
    monkeypatch.delitem(sys.modules, "asl_fast._native_cuda", raising=False)
    reason = str(native.why_missing())
    assert f"never built in {clone}, which hides the build in {installed}" in reason
    assert f"run pip install -e {clone.parent}, or start Python in another folder" in reason
    assert "hides" not in str(native.why_missing("cuda")), "no CUDA module is installed there either"


def test_the_module_of_another_checkout_is_not_taken_for_this_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an editable installation of a second checkout finds for a first one that was never built."""
    other = tmp_path / "other" / "asl_fast" / f"_native{EXTENSION_SUFFIXES[0]}"
    other.parent.mkdir(parents=True)
    other.touch()
    monkeypatch.setattr(native, "PACKAGE", tmp_path / "asl_fast")
    monkeypatch.setattr(native, "import_module", lambda name: SimpleNamespace(__file__=str(other)))
    monkeypatch.setitem(sys.modules, "asl_fast._native", SimpleNamespace(__file__=str(other)))
    monkeypatch.setattr(sys, "path", [])
    assert native.cpu_module() is None
    assert f"never built in {tmp_path / 'asl_fast'}, which hides the build in {other.parent}" in str(
        native.why_missing()
    )


def test_matching_in_numpy_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_modules(monkeypatch, tmp_path)
    monkeypatch.setattr(native, "_warned", set())
    segments, one = np.array([[0.0, 1.0]]), np.zeros(1, dtype=np.int64)
    given = (segments, one, segments, np.array([0, 1]), np.array([0.5]), ACTIONFORMER)
    with pytest.warns(native.SlowPathWarning, match=r"^match_segments runs plain PyTorch or NumPy .* never built"):
        assert match_segments(*given).tolist() == [[0]]


def test_report_names_every_operator_and_device() -> None:
    report = env.collect()
    assert report["versions"]["torch"] == torch.__version__
    assert {"segment_iou", "diou_loss"} <= set(report["operators"])
    devices = {"cpu", "cuda"} if torch.cuda.is_available() else {"cpu"}
    for choices in report["operators"].values():
        assert set(choices) == devices
        assert choices["cpu"]["implementation"] is not None
    assert bool(report["devices"]) == torch.cuda.is_available()


def test_json_and_text_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    env.main(["--json"])
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(json.dumps(env.collect()))
    env.main([])
    text = capsys.readouterr().out
    for name in (*report["operators"], *report["versions"], report["python"]):
        assert name in text


def test_missing_things_come_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_modules(monkeypatch, tmp_path)
    monkeypatch.setattr(environment, "_version", lambda package: None if package == "h5py" else "1.0")
    monkeypatch.setattr(environment, "_extra_packages", lambda: {"h5": ["h5py"], "plot": ["matplotlib"]})
    report = env.collect()
    assert not report["native"]["available"]
    assert any("pip install 'asl-fast[h5]'" in sentence for sentence in report["advice"])
    assert any("the CPU runs the reference" in sentence for sentence in report["advice"])
    text = env.render(report)
    assert "not installed" in text
    assert "missing: asl_fast._native was never built" in text


def test_every_extra_that_is_not_for_developers_is_explained() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    file = Path(__file__).parents[1] / "pyproject.toml"
    extras = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(environment.EXTRAS) == set(extras) - {"dev", "docs", "wheels"}


def test_which_extras_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "torch>=2.6",
        'av>=14; extra == "video"',
        "av>=14 ; extra == 'ray'",
        'ray[data]>=2.40; extra == "ray"',
        'triton>=3; sys_platform == "other" and extra == "triton"',
        'pytest; extra == "dev"',
    ]
    monkeypatch.setattr(environment.metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(environment, "_version", lambda package: None if package == "ray" else "1.0")
    report = env.collect()
    assert {extra: about["missing"] for extra, about in report["extras"].items()} == {"video": [], "ray": ["ray"]}
    assert report["versions"]["av"] == "1.0" and report["versions"]["ray"] is None
    assert any("pip install 'asl-fast[ray]'" in sentence for sentence in report["advice"])
    lines = env.render(report).splitlines()
    assert any(line.split()[:2] == ["video", "here"] for line in lines)
    assert any(line.split()[:3] == ["ray", "missing", "ray"] for line in lines)

    def not_installed(name: str) -> list[str]:
        raise environment.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(environment.metadata, "requires", not_installed)
    report = env.collect()
    assert report["extras"] == {} and "Extras: unknown" in env.render(report)


def test_changed_sources_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, csrc = tmp_path / "asl_fast", tmp_path / "csrc" / "cpu"
    package.mkdir()
    csrc.mkdir(parents=True)
    monkeypatch.setattr(native, "PACKAGE", package)
    (csrc / "op.cpp").touch()
    assert not environment._stale()  # an installed package that was never built here has nothing to compare
    (package / "_build_info.json").write_text("{}")
    os.utime(csrc / "op.cpp", (1, 1))
    assert not environment._stale()
    os.utime(csrc / "op.cpp", (2**31, 2**31))
    assert environment._stale()


def test_free_memory_is_what_a_container_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def control_group(folder: Path, limit: str, most: object, used: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text("700\n")
        (folder / "memory.stat").write_text("anon 300\ninactive_file 400\n")

    assert environment._left_in_container(tmp_path) == []
    control_group(tmp_path, "memory.max", "max", "memory.current")
    assert environment._left_in_container(tmp_path) == []
    control_group(tmp_path, "memory.max", 1000, "memory.current")
    # Files that were read and are not in use are given up for whoever needs memory.
    assert environment._left_in_container(tmp_path) == [700]
    control_group(tmp_path / "memory", "memory.limit_in_bytes", 500, "memory.usage_in_bytes")
    assert environment._left_in_container(tmp_path) == [700, 200]
    free = environment.free_memory_bytes()
    assert (free is not None and free > 0) or not Path("/proc/meminfo").exists()
    if free is not None:
        monkeypatch.setattr(environment, "_left_in_container", lambda root: [7])
        assert environment.free_memory_bytes() == 7
