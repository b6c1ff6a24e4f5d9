# SPDX-License-Identifier: Apache-2.0
"""Every op is whole: one base name in all layers, a schema that is its operands, a call to compile, a benchmark.

That its implementations load is for tests/ops/test_backend.py, that it has an example and keeps the contract of a
device for tests/kernels/test_device_contract.py.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import get_type_hints

import pytest
import torch

import asl_fast.ops
from asl_fast.ops import _dispatch, _library
from benchmarks import registry

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("asl_fast", "kernels", "csrc", "tests", "benchmarks")
# Ops whose benchmark is that of a job, which compares them with other ways to do the whole of it.
MEASURED_BY = {"detection_loss": "training_losses"}

for _module in pkgutil.iter_modules(asl_fast.ops.__path__):
    if not _module.name.startswith("_"):  # each registers its ops
        importlib.import_module(f"asl_fast.ops.{_module.name}")

OPS = sorted(_library.OPERANDS)


def base_of(op: str) -> str:
    """Return the name that all files of an op carry: that of the module of its operands."""
    return _library.OPERANDS[op].__module__.rpartition(".")[2].removesuffix("_backward")


BASES = sorted({base_of(op) for op in OPS})


def test_every_op_has_a_base_name_and_comes_with_the_package() -> None:
    assert len(BASES) > 5 and set(OPS) == set(_dispatch._implementations)
    assert all(op.startswith(base_of(op)) for op in OPS)
    imported = uses(ROOT / "asl_fast/ops/__init__.py")
    assert [base for base in BASES if ROOT / f"asl_fast/ops/{base}.py" not in imported] == []


@pytest.mark.parametrize("op", OPS)
def test_the_schema_is_the_operands_and_outputs_of_the_reference(op: str) -> None:
    operands = _library.OPERANDS[op]
    kind = "Backward" if op.endswith("_backward") else ""
    assert operands.__module__.startswith("asl_fast.reference.") and operands.__name__ == f"{kind}Operands"
    outputs = get_type_hints(operands.outputs)["return"]
    assert outputs.__module__ == operands.__module__ and outputs.__name__ == f"{kind}Outputs"
    schema = getattr(torch.ops.asl_fast, op).default._schema
    assert tuple(argument.name for argument in schema.arguments) == operands._fields
    assert tuple(result.name for result in schema.returns) == outputs._fields


@pytest.mark.parametrize("op", OPS)
def test_every_implementation_lies_in_a_file_of_the_base_name(op: str) -> None:
    base = base_of(op)
    homes = {
        "reference": f"asl_fast.reference.{base}",
        "cpu": f"asl_fast.ops._{base}_native",
        "cuda": f"asl_fast.ops._{base}_native",
        "triton": f"asl_fast.kernels.{base}",
    }
    for name in _dispatch.implementations(op):
        target = _dispatch._implementations[op][name].target
        module = target.partition(":")[0] if isinstance(target, str) else target.__module__
        assert module in (homes[name], f"{homes[name]}_backward"), f"{name} of {op} lies in {module}"


def test_every_op_is_measured() -> None:
    measured = set(registry.discover())
    assert {MEASURED_BY.get(base, base) for base in BASES} <= measured


def test_every_triton_launcher_is_compiled_ahead_of_time() -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    from tests.kernels.calls import CALLS

    compiled = {function for _, function, _ in CALLS}
    with_triton = [op for op in OPS if "triton" in _dispatch.implementations(op)]
    assert len(with_triton) > 5
    assert [op for op in with_triton if _dispatch.load(op, "triton") not in compiled] == []


@cache
def sources() -> tuple[Path, ...]:
    suffixes = {".py", ".h", ".cpp", ".cu", ".cuh"}
    return tuple(path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*")) if path.suffix in suffixes)


def base_in(path: Path) -> str | None:
    """Find the base name that a file's name has, the longest that fits."""
    fitting = [base for base in BASES if re.search(rf"(?:^|_){base}(?:_|$)", path.stem)]
    return max(fitting, key=len, default=None)


def uses(path: Path) -> set[Path]:
    """List the files that a source includes or imports."""
    text = path.read_text()
    if path.suffix != ".py":
        return {ROOT / "csrc" / name for name in re.findall(r'#include "([^"]+)"', text)}
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            package = (node.module or "").replace("asl_fast.kernels", "kernels").replace(".", "/")
            folder = (path.parent if node.level else ROOT) / package
            found |= {folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)}
    return found


def test_what_serves_one_op_alone_carries_its_name() -> None:
    users: dict[Path, set[str | None]] = {}  # file -> the base names of the files that use it, None for other files
    for path in sources():
        for used in uses(path) - {path}:
            users.setdefault(used, set()).add(base_in(path))
    installed = (path for path in users if path.is_file() and not path.is_relative_to(ROOT / "tests"))
    shared = [path for path in installed if base_in(path) is None]
    assert len(shared) > 20
    alone = {str(path.relative_to(ROOT)): users[path] for path in shared if len(users[path]) == 1}
    assert {path: bases for path, bases in alone.items() if None not in bases} == {}


def test_the_name_of_an_op_is_seen_in_a_file_name() -> None:
    names = {"_segment_iou_ragged_native.py": "segment_iou_ragged", "test_cuda_soft_nms.py": "soft_nms"}
    assert {name: base_in(Path(name)) for name in names} == names
    assert base_in(Path("diou_losses.py")) is None
    assert ROOT / "kernels/_launch.py" in uses(ROOT / "kernels/diou_loss.py")
    assert ROOT / "csrc/common/diou_loss.h" in uses(ROOT / "csrc/cuda/diou_loss.cu")
