# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, how long a file may be and how it starts; every rule is read off the files themselves."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINE_CAP = 400
SOURCES = sorted(
    path
    for folder in ("asl_fast", "kernels", "csrc", "benchmarks", "tests", "examples", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".cpp", ".cu", ".h", ".cuh", ".js", ".css"}
) + [ROOT / "setup.py"]

# Layer -> layers of this package it may import, beyond itself. Inside data the layers are its rooms and modules.
INTERNAL: dict[str, set[str]] = {
    "files": set(),
    "wording": set(),
    "interval": set(),
    "native": set(),
    "backend": set(),
    "command_line": {"files", "wording"},
    "kernels": set(),
    "reference": set(),
    "environment": {"native"},
    "ops": {"reference", "kernels", "native", "backend"},
    "layers": set(),
    "serialization": {"files", "wording"},
    "models": {"ops", "layers", "files", "serialization"},
    "losses": {"ops", "layers", "serialization", "interval"},
    "integrations": {"losses", "ops", "reference"},
    "data": set(),
    "data.annotations": {"files", "wording"},
    "data.finding": set(),
    "data.grid": set(),
    "data.crop": set(),
    "data.channels": set(),
    "data.transform": {"data.channels"},
    "data.augment": {"data.channels", "data.grid", "data.transform"},
    "data.features": {"files", "wording", "data.annotations", "data.grid"},
    "data.dataset": {"data.annotations", "data.grid", "data.crop", "data.augment", "data.features"},
    "data.collate": {"data.grid", "data.dataset"},
    "data.resident": {"data.grid", "data.dataset"},
    "data.bundle": {"data.annotations", "data.grid", "data.transform", "data.dataset"},
    "data.source": {
        "wording",
        "data.annotations",
        "data.finding",
        "data.transform",
        "data.features",
        "data.dataset",
        "data.bundle",
    },
    "data.synthetic": {"wording", "data.annotations", "data.features", "data.dataset", "data.bundle"},
    "data.signals": {
        "files",
        "wording",
        "data.annotations",
        "data.channels",
        "data.grid",
        "data.transform",
        "data.features",
        "data.dataset",
        "data.bundle",
        "data.source",
    },
    "data.datasets": {
        "files",
        "wording",
        "data.annotations",
        "data.channels",
        "data.signals",
        "data.grid",
        "data.transform",
        "data.features",
        "data.dataset",
        "data.bundle",
        "data.source",
    },
    "data.custom": {
        "files",
        "wording",
        "data.annotations",
        "data.channels",
        "data.finding",
        "data.transform",
        "data.features",
        "data.signals",
        "data.source",
    },
    "data.report": {"wording", "data.annotations", "data.finding", "data.crop", "data.features", "data.source"},
    "data.load": {"data.features", "data.datasets", "data.synthetic", "data.bundle", "data.source"},
    "evaluation": {"native", "files", "wording", "data.annotations"},
    "formats": {"files", "wording"},
    "video": {"files", "wording", "environment", "data.features"},
    "training": {
        "files",
        "wording",
        "serialization",
        "interval",
        "models",
        "losses",
        "data",
        "evaluation",
        "environment",
        "command_line",
        "video",
    },
    "detection": {"files", "wording", "formats", "training", "models", "data", "evaluation", "video"},
    "exporting": {"files", "serialization", "wording", "data", "models", "detection"},
    "corpus": {"files", "formats", "models", "data", "detection", "video", "wording"},
    "reporting": {"files", "wording", "command_line", "training", "losses", "evaluation", "video"},
}
# Layer -> layers it may import below `if TYPE_CHECKING:` in addition; nothing of them is there when it runs.
TYPES: dict[str, set[str]] = {"kernels": {"reference"}}
# Layer -> packages from outside it may import, beyond the standard library.
EXTERNAL: dict[str, set[str]] = {
    "files": set(),
    "wording": set(),
    "interval": set(),
    "native": set(),
    "backend": set(),
    "command_line": {"tyro"},
    "kernels": {"torch", "triton"},
    "reference": {"torch"},
    "environment": {"torch"},
    "ops": {"torch"},
    "layers": {"torch"},
    "serialization": set(),
    "models": {"torch", "safetensors", "huggingface_hub", "yaml"},
    "losses": {"torch"},
    "integrations": {"torch"},
    "data": set(),
    "data.annotations": {"numpy"},
    "data.finding": set(),
    "data.grid": {"numpy", "torch"},
    "data.crop": {"numpy"},
    "data.channels": {"numpy"},
    "data.signals": {"numpy"},
    "data.transform": {"numpy"},
    "data.augment": {"numpy", "torch"},
    "data.features": {"numpy", "torch", "h5py"},
    "data.dataset": {"numpy", "torch"},
    "data.collate": {"torch"},
    "data.resident": {"torch"},
    "data.bundle": set(),
    "data.source": set(),
    "data.synthetic": {"numpy"},
    "data.datasets": {"numpy"},
    "data.custom": {"numpy"},
    "data.report": {"numpy", "tqdm"},
    "data.load": set(),
    "evaluation": {"numpy"},
    "formats": set(),
    "video": {
        "numpy",
        "torch",
        "tqdm",
        "av",
        "onnxruntime",
        "transformers",
        "torchcodec",
        "torchvision",
        "timm",
        "safetensors",
        "huggingface_hub",
    },
    "training": {"numpy", "torch", "tqdm", "tyro", "tensorboard", "wandb", "mlflow"},
    "detection": {"numpy", "torch"},
    "corpus": {"torch", "pyarrow", "ray"},
    "exporting": {"torch", "onnxruntime", "safetensors"},
    "reporting": {"numpy", "torch", "matplotlib"},
}
CPP_HEADERS = re.compile(r"<(pybind11/\w+\.h|cuda\w*\.h|cpuid\.h|(imm|emm)intrin\.h|arm_neon\.h|[a-z_]+)>")


def module_files() -> dict[str, Path]:
    """Map module names to files, for everything that is installed."""
    files = {}
    for prefix, folder in (("asl_fast", ROOT / "asl_fast"), ("asl_fast.kernels", ROOT / "kernels")):
        for path in sorted(folder.rglob("*.py")):
            parts = [prefix, *path.relative_to(folder).with_suffix("").parts]
            files[".".join(parts).removesuffix(".__init__")] = path
    return files


MODULES = module_files()


def is_entry_point(module: str) -> bool:
    """Tell whether a module is made to be run: ``__main__.py`` or one that ends in the ``__main__`` guard."""
    return module.endswith(".__main__") or '\nif __name__ == "__main__":' in MODULES[module].read_text()


def layer_of(module: str) -> str:
    """Return ``ops`` for ``asl_fast.ops.soft_nms``; inside data ``data.grid``, ``data.annotations``."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if ".".join(parts[:2]) in INTERNAL else parts[0]


def statements(tree: ast.AST, *, functions: bool) -> Iterator[ast.AST]:
    """All nodes of a module; without those inside functions, which run when the module is there already."""
    for node in ast.iter_child_nodes(tree):
        if functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
            yield from statements(node, functions=functions)


def imports(module: str, *, functions: bool = True) -> Iterator[tuple[int, str]]:
    """Yield (line, imported module) of every import; ``from package import submodule`` names the submodule."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in statements(ast.parse(MODULES[module].read_text()), functions=functions):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                stem = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*stem, base] if base else stem)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in MODULES or base == "asl_fast" else base


def lines_for_types(module: str) -> set[int]:
    """Return the lines below ``if TYPE_CHECKING:``."""
    blocks = [
        node
        for node in ast.parse(MODULES[module].read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {line for block in blocks for line in range(block.lineno, (block.end_lineno or block.lineno) + 1)}


def wrong_arrows(module: str) -> list[str]:
    """List the imports of one module that its layer does not allow, in words."""
    layer = layer_of(module)
    for_types = lines_for_types(module)
    found = []
    for line, name in imports(module):
        allowed = {layer, *INTERNAL[layer], *(TYPES.get(layer, ()) if line in for_types else ())}
        top, *rest = name.split(".")
        where = f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        if top != "asl_fast":
            if top not in sys.stdlib_module_names and top not in EXTERNAL[layer]:
                found.append(f"{where}, but {layer} may import only {sorted(EXTERNAL[layer])} from outside")
        elif name in MODULES and is_entry_point(name):
            found.append(f"{where}, which is an entry point; nobody imports those")
        elif rest and allowed.isdisjoint({rest[0], ".".join(rest[:2])}) and name != "asl_fast.__version__":
            found.append(f"{where}, but {layer} may import only {sorted(INTERNAL[layer])}")
        elif not rest:
            found.append(f"{where}; import from the module that defines the name")
    return found


LAYERED = [name for name in MODULES if name != "asl_fast" and not is_entry_point(name)]


def test_every_module_has_a_layer() -> None:
    """A new top-level module has to be given its place in INTERNAL and EXTERNAL."""
    unknown = {layer_of(name) for name in LAYERED} - set(INTERNAL)
    unknown |= {".".join(name.split(".")[1:3]) for name in LAYERED if name.startswith("asl_fast.data.")} - set(INTERNAL)
    assert not unknown, f"add to INTERNAL and EXTERNAL of this test: {sorted(unknown)}"
    assert set(INTERNAL) == set(EXTERNAL)


def test_imports_follow_the_arrows() -> None:
    assert [text for module in LAYERED for text in wrong_arrows(module)] == []


def test_no_circle() -> None:
    """No module needs, while it is imported, one that needs it; what is imported for types alone counts as well."""
    needs = {name: {other for _, other in imports(name, functions=False) if other in MODULES} for name in MODULES}
    graphlib.TopologicalSorter(needs).prepare()


def test_a_circle_is_seen() -> None:
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


def test_entry_points_import_no_entry_point() -> None:
    """Two commands that share code share it through a layer."""
    runnable = [name for name in MODULES if is_entry_point(name)]
    found = [(name, other) for name in runnable for _, other in imports(name) if other in runnable and other != name]
    assert found == []


def test_a_wrong_arrow_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above would be worthless if the reader missed an import."""
    source = tmp_path / "bad.py"
    source.write_text(
        "import numpy\nfrom asl_fast.training import loop\nfrom ..ops import nms\nfrom asl_fast import native\n"
    )
    monkeypatch.setitem(MODULES, "asl_fast.reference.bad", source)
    monkeypatch.setattr("tests.test_layering.ROOT", tmp_path)
    found = wrong_arrows("asl_fast.reference.bad")
    assert [text.split(" imports ")[1].split(",")[0] for text in found] == [
        "numpy",
        "asl_fast.training.loop",
        "asl_fast.ops",
        "asl_fast.native",
    ]


def test_every_source_names_its_licence() -> None:
    first_lines = {path: path.read_text().partition("\n")[0] for path in SOURCES if path.stat().st_size}
    without = [path for path, line in first_lines.items() if "SPDX-License-Identifier: Apache-2.0" not in line]
    assert without == []


def test_no_source_is_longer_than_the_cap() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > LINE_CAP} == {}


def test_native_code_includes_no_torch() -> None:
    """Native code sees the standard library, CUDA runtime and pybind11, or its own headers by their path in csrc."""
    foreign = []
    for path in (path for path in SOURCES if path.is_relative_to(ROOT / "csrc") and path.suffix != ".py"):
        for name in re.findall(r"^\s*#\s*include\s+(\S+)", path.read_text(), flags=re.MULTILINE):
            own = (ROOT / "csrc" / name.strip('"'), path.parent / name.strip('"'))
            if not (CPP_HEADERS.fullmatch(name) or (name.startswith('"') and any(file.exists() for file in own))):
                foreign.append(f"{path.relative_to(ROOT)}: {name}")
    assert foreign == []
