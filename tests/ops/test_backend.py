# SPDX-License-Identifier: Apache-2.0
"""Choosing and forcing implementations: order, reasons, errors, nesting, threads, the backward pass, laziness."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

import asl_fast
from asl_fast import native, ops
from asl_fast.backend import forced_backend
from asl_fast.ops import _dispatch


class Nothing(NamedTuple):
    """Operands of an op that takes none."""


class One(NamedTuple):
    """Operands of an op that takes a number."""

    value: float


@pytest.fixture
def op(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name in an empty dispatch table, for implementations of the test's own."""
    monkeypatch.setattr(_dispatch, "_implementations", {})
    monkeypatch.setattr(_dispatch, "_resolved", {})
    monkeypatch.setattr(native, "_warned", set())
    monkeypatch.setattr(_dispatch.native, "cpu_module", lambda: object())
    yield "op"


def register(op: str, *names: str) -> None:
    for name in names:
        _dispatch.register(op, name, lambda _, n=name: (n,))


def test_the_first_of_the_order_that_can_run_is_chosen(op: str) -> None:
    run = _dispatch.kernel(op, "cpu", Nothing)
    register(op, "reference")
    assert run() == "reference"
    register(op, "cpu")
    assert run() == "cpu", "registering later takes effect"
    assert _dispatch.choose(op, "cpu") == ("cpu", "first choice")
    register(op, "triton", "cuda")
    assert run() == "cpu"
    assert _dispatch.implementations(op) == ("reference", "cpu", "triton", "cuda")


def test_a_missing_implementation_is_passed_over_with_its_reason(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dispatch.native, "cpu_module", lambda: None)
    monkeypatch.setattr(_dispatch.native, "why_missing", lambda kind="cpu": f"no {kind} module: no compiler was found")
    register(op, "reference", "cpu", "cuda")
    assert _dispatch.choose(op, "cpu") == ("reference", "cpu: no cpu module: no compiler was found")
    with pytest.warns(native.SlowPathWarning, match=r"^op runs plain PyTorch .* slower .*: no compiler was found\. "):
        assert _dispatch.kernel(op, "cpu", Nothing)() == "reference"
    with asl_fast.backend("cpu"), pytest.raises(RuntimeError, match=r"op cannot run .*'cpu' on cpu .*no compiler"):
        _dispatch.kernel(op, "cpu", Nothing)()
    monkeypatch.setattr(_dispatch.native, "cuda_module", lambda: None)
    assert "no cuda module" in _dispatch.choose(op, "cuda", "cuda").reason


def test_the_slow_path_warns_once_and_only_where_something_faster_was_expected(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "cpu_module", lambda: None)
    monkeypatch.setattr(native, "why_missing", lambda kind="cpu": "it was never built")
    for name in (op, "another"):
        register(name, "reference", "cpu")
    register("triton_only", "reference", "triton")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = _dispatch.kernel("triton_only", "cpu", Nothing)
        assert run() == "reference", "a CPU never had anything faster for it"
        with asl_fast.backend("reference"):
            assert _dispatch.kernel(op, "cpu", Nothing)() == "reference", "this is what was asked for"
        assert native._warned == set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in (op, "another", op):
            assert _dispatch.kernel(name, "cpu", Nothing)() == "reference"
    assert [str(each.message).partition(" ")[0] for each in caught] == [op]


def test_a_forced_backend_never_falls_through(op: str) -> None:
    register(op, "reference", "cpu")
    with asl_fast.backend("reference"):
        assert _dispatch.kernel(op, "cpu", Nothing)() == "reference"
    with (
        asl_fast.backend("triton"),
        pytest.raises(RuntimeError, match=r"no triton implementation \(it has reference, cpu\)"),
    ):
        _dispatch.kernel(op, "cpu", Nothing)()
    register(op, "cuda")
    with asl_fast.backend("cuda"), pytest.raises(RuntimeError, match="takes CUDA tensors only"):
        _dispatch.kernel(op, "cpu", Nothing)()


def test_triton_on_cpu_tensors_needs_its_interpreter(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(op, "triton")
    monkeypatch.setattr(_dispatch.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(_dispatch, "_triton_version", lambda: _dispatch.TRITON_NEEDED)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert "TRITON_INTERPRET=1" in _dispatch.choose(op, "cpu", "triton").reason
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert _dispatch.choose(op, "cpu", "triton").implementation == "triton"
    monkeypatch.setattr(_dispatch.importlib.util, "find_spec", lambda name: None)
    assert _dispatch.choose(op, "cpu", "triton").reason == "triton is not installed"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("3.4.0", "the kernels need triton 3.5 or newer and 3.4 is installed; pip install 'triton>=3.5'"),
        ("2.3.1", "and 2.3 is installed"),
        ("of no number", "and a version that does not load is installed"),
        ("3.5.1", None),
        ("3.10.0+git5f0b4a3", None),
        ("4.0.0", None),
    ],
)
def test_a_triton_that_cannot_compile_the_kernels_is_passed_over(
    op: str, version: str, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__=version, __spec__=object()))
    _dispatch._triton_version.cache_clear()
    register(op, "reference", "triton")
    found = _dispatch.choose(op, "cuda")
    _dispatch._triton_version.cache_clear()
    assert found.implementation == ("triton" if reason is None else "reference")
    assert reason is None or reason in found.reason


def test_several_gpus_under_cuda_11_run_no_cuda_operators(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(op, "reference", "cuda")
    monkeypatch.setattr(native, "why_cuda_cannot_run", lambda: None)
    monkeypatch.setattr(torch.version, "cuda", "11.8")
    for count, implementation in ((1, "cuda"), (2, "reference")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert _dispatch.choose(op, "cuda").implementation == implementation
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert _dispatch.choose(op, "cuda").implementation == "cuda"


def test_a_device_that_triton_does_not_support_is_named(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", minversion=".".join(map(str, _dispatch.TRITON_NEEDED)))
    register(op, "reference", "triton")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: ((9, 0), (7, 5))[index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ("H100", "T4")[index])
    found = _dispatch.choose(op, "cuda")
    assert found.implementation == "reference" and "Triton does not support T4 (sm_75)" in found.reason


def test_suppression_runs_the_reference_where_no_build_has_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU before Ampere, though its order begins with CUDA."""
    pytest.importorskip("triton", minversion="3.5")
    device = {"name": "T4", "capability": (7, 5)}
    module = SimpleNamespace(architectures="sm_80 sm_90 compute_90", devices=lambda: [device], device_error=lambda: "")
    monkeypatch.setattr(native, "cuda_module", lambda: module)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: device["capability"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: device["name"])
    found = _dispatch.choose("soft_nms", "cuda")
    assert found.implementation == "reference"
    assert "rebuild with ASL_FAST_CUDA_ARCHS=75" in found.reason and "Triton does not support T4" in found.reason


def test_a_further_condition_and_a_named_target(op: str) -> None:
    _dispatch.register(op, "cpu", "math:prod", obstacle=lambda device: "not on Tuesdays")
    _dispatch.register(op, "reference", lambda given: (-given.value,))
    assert _dispatch.choose(op, "cpu") == ("reference", "cpu: not on Tuesdays")
    with pytest.warns(native.SlowPathWarning, match="not on Tuesdays"):
        assert _dispatch.kernel(op, "cpu", One)(1.5) == -1.5
    assert _dispatch.load(op, "cpu") is math.prod


def test_values_are_checked_before_the_kernel_on_cpu_only(op: str) -> None:
    register(op, "reference")
    seen: list[One] = []
    assert _dispatch.kernel(op, "cpu", One, seen.append)(3) == "reference"
    assert seen == [One(3)]


@pytest.mark.parametrize("name", ["gpu", "", "Reference"])
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown backend '{name}'; choose one of reference, cpu, triton, cuda"):
        asl_fast.backend(name)


def test_contexts_nest_and_survive_exceptions() -> None:
    outside = forced_backend()
    with asl_fast.backend("reference"):
        with pytest.raises(KeyError), asl_fast.backend("cuda"):
            assert forced_backend() == "cuda"
            raise KeyError
        with asl_fast.backend(None):
            assert forced_backend() is None
        assert forced_backend() == "reference"
    assert forced_backend() == outside
    again = asl_fast.backend("cpu")
    with again, again:
        assert forced_backend() == "cpu"
    assert forced_backend() == outside


def test_a_context_is_local_to_its_thread() -> None:
    seen: list[str | None] = []
    with asl_fast.backend("cuda"):
        thread = threading.Thread(target=lambda: seen.append(forced_backend()))
        thread.start()
        thread.join()
    assert seen == [os.environ.get("ASL_FAST_BACKEND")]


def test_backward_uses_the_backend_of_its_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    reference = _dispatch.load("segment_iou_backward", "reference")

    def spy(*arguments: object) -> object:
        seen.append(forced_backend())
        return reference(*arguments)

    replaced = _dispatch._implementations["segment_iou_backward"]["reference"]._replace(target=spy)
    monkeypatch.setitem(_dispatch._implementations["segment_iou_backward"], "reference", replaced)
    monkeypatch.setattr(_dispatch, "_resolved", {})
    monkeypatch.setattr(native, "_warned", set())
    a = torch.tensor([[0.0, 2.0]], requires_grad=True)
    with asl_fast.backend("reference"):
        value = asl_fast.segment_iou(a, torch.tensor([[1.0, 3.0]]))
    with asl_fast.backend("cuda"):
        value.sum().backward()
    assert seen == ["reference"]
    assert a.grad is not None and bool(a.grad.any())


def test_backends_lists_every_op_and_what_runs() -> None:
    table = ops.backends()
    defined = set(_dispatch._implementations)
    assert defined >= {"segment_iou", "segment_iou_backward", "diou_loss", "sensitivity_focal_loss", "assign_points"}
    assert {op for op, device in table if device == "cpu"} == defined
    for (op, device), choice in table.items():
        assert choice.implementation in _dispatch.implementations(op), (op, device, choice)
        assert choice.reason
    with asl_fast.backend("cuda"):
        for (_, device), choice in ops.backends().items():
            if device == "cpu":
                assert choice.implementation is None and choice.reason


def test_every_registered_op_has_a_reference_and_loadable_implementations() -> None:
    for op in _dispatch._implementations:
        assert "reference" in _dispatch.implementations(op), op
        for name in _dispatch.implementations(op):
            if name != "triton" or importlib.util.find_spec("triton") is not None:
                assert callable(_dispatch.load(op, name)), (op, name)
            for device in ("cpu", "cuda"):
                assert _dispatch.choose(op, device, name).reason, (op, name, device)


def test_the_preference_tables_name_known_things() -> None:
    known = set(_dispatch._implementations)
    assert set(_dispatch.PREFERENCES) <= known
    for order in [*_dispatch.DEFAULT_ORDER.values(), *(o for t in _dispatch.PREFERENCES.values() for o in t.values())]:
        assert order[-1] == "reference", "there is always something that runs"


def test_double_backward_is_refused_only_when_it_is_asked_for() -> None:
    a = torch.tensor([[0.0, 2.0]], requires_grad=True)
    iou = asl_fast.segment_iou(a, torch.tensor([[1.0, 4.0]]))
    assert bool(torch.autograd.grad(iou.sum(), a, retain_graph=True)[0].any())
    with pytest.raises(NotImplementedError, match=r"segment_iou has no second .* in asl_fast.reference.segment_iou"):
        torch.autograd.grad(iou.sum(), a, create_graph=True)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


def test_importing_the_package_loads_nothing_heavy_and_backend_is_callable_however_it_is_imported() -> None:
    code = """
import sys, asl_fast
assert not {"torch", "triton", "numpy"} & set(sys.modules), "heavy import"
import asl_fast.backend
import asl_fast.backend as named
from asl_fast.backend import backend, forced_backend
assert asl_fast.backend is named is backend
with asl_fast.backend("reference"):
    assert forced_backend() == "reference"
import asl_fast.ops
assert "triton" not in sys.modules, "ops import triton before a Triton op runs"
assert asl_fast.diou_loss is asl_fast.ops.diou_loss and asl_fast.soft_nms is asl_fast.ops.soft_nms
for name in asl_fast.__all__:
    assert getattr(asl_fast, name) is not None
assert set(asl_fast.__all__) <= set(dir(asl_fast))
try:
    asl_fast.nonsense
except AttributeError as error:
    assert "no attribute 'nonsense'" in str(error)
else:
    raise AssertionError
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_the_environment_variable_forces_and_a_wrong_one_is_an_error_at_the_first_call(op: str) -> None:
    code = "from asl_fast.backend import forced_backend; print(forced_backend())"
    for name in ("reference", "gpu"):
        assert run_python(code, ASL_FAST_BACKEND=name).stdout.strip() == name
    assert run_python(code, ASL_FAST_BACKEND="").stdout.strip() == "None"
    register(op, "reference")
    with pytest.raises(ValueError, match="ASL_FAST_BACKEND: unknown backend 'gpu'"):
        _dispatch.choose(op, "cpu", "gpu")


def test_native_reports_are_sentences() -> None:
    for kind in ("cpu", "cuda"):
        why = native.why_missing(kind)
        assert why is None or len(why) > 20
