# SPDX-License-Identifier: Apache-2.0
"""Compiles the native modules of a wheel: any CPython, x86-64 or aarch64, for old Linux systems, on one x86-64 machine.

The compiler is zig's clang, from its package on PyPI: it brings headers and link stubs of every version of glibc for
every architecture, and its C++ library is linked in, so that a module needs libc alone. Of the CUDA module nvcc and
the system's g++ make the objects of ``.cu`` files, once for all Pythons; zig makes and links the rest.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "csrc"))

import native_build  # noqa: E402
from native_build import Module, NotBuilt, Target  # noqa: E402

GLIBC = (2, 17)  # what manylinux2014 has, and the first that ran on aarch64
ARCHITECTURES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Platform:
    """One kind of wheel.

    Attributes:
        python: Version of CPython, such as "3.12".
        machine: One of :data:`ARCHITECTURES`.
    """

    python: str
    machine: str

    @property
    def tag(self) -> str:
        """The tag of the interpreter, such as "cp312"."""
        return "cp" + self.python.replace(".", "")

    @property
    def manylinux(self) -> str:
        """The tag of the platform."""
        return f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{self.machine}"

    @property
    def suffix(self) -> str:
        """What this interpreter's extension modules end in."""
        return f".cpython-{self.python.replace('.', '')}-{self.machine}-linux-gnu.so"


def target(platform: Platform, headers: Path, work: Path) -> Target:
    """Describe zig as the compiler for a platform.

    Raises:
        NotBuilt: There is no zig.
    """
    try:
        import ziglang
    except ImportError as error:
        raise NotBuilt("zig is not installed; pip install ziglang") from error
    zig = Path(str(ziglang.__file__)).parent / "zig"
    os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(work / "zig"))
    os.environ.setdefault("ZIG_LOCAL_CACHE_DIR", str(work / "zig"))
    triple = f"{platform.machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"
    # Nothing but the function that Python looks for is seen from outside: another C++ library in the same process,
    # such as torch's, must neither use this module's copy nor lend it its own.
    exported = work / "exported.map"
    exported.parent.mkdir(parents=True, exist_ok=True)
    exported.write_text("{ global: PyInit_*; local: *; };\n")
    return Target(
        cxx=f"{shlex.quote(str(zig))} c++ -target {triple} -g0",
        version=f"zig {_version(zig)}, clang, for {triple}",
        python=headers,
        suffix=platform.suffix,
        shared=f"-shared -Wl,-s -Wl,--version-script={shlex.quote(str(exported))}",
    )


def _version(zig: Path) -> str:
    return subprocess.run([str(zig), "version"], capture_output=True, text=True, check=True).stdout.strip()


def build_cpu(platform: Platform, headers: Path, work: Path) -> tuple[Path, dict[str, object]]:
    """Compile ``_native``; return its file and its entry in the build record.

    Raises:
        NotBuilt: There is no zig, or it failed.
    """
    return _build(native_build.cpu_module(target(platform, headers, work)), _folder(platform, work))


def build_cuda(platform: Platform, headers: Path, work: Path) -> tuple[Path, dict[str, object]]:
    """Compile ``_native_cuda``; return its file and its entry in the build record.

    Raises:
        NotBuilt: There is no nvcc, the wheel is for another architecture than this machine's, or a compiler failed.
    """
    if os.environ.get("ASL_FAST_CUDA") == "0":
        raise NotBuilt("ASL_FAST_CUDA=0 at build time")
    if platform.machine != "x86_64":
        raise NotBuilt(f"wheels for {platform.machine} hold no CUDA code; install from source where nvcc is")
    zig = target(platform, headers, work)
    whole = native_build.cuda_module(zig)
    kernels, _ = _build(
        Module(
            name="cuda_kernels",
            sources=[source for source in whole.sources if source.suffix == ".cu"],
            file="cuda_kernels.a",
            compile={".cu": whole.compile[".cu"]},
            link="rm -f $out && ar rcs $out $in",
        ),
        work,
    )
    runtime = _cuda_runtime()
    bindings = replace(
        whole,
        sources=[source for source in whole.sources if source.suffix == ".cpp"],
        compile={".cpp": whole.compile[".cpp"]},
        link=f"{zig.cxx} {zig.shared} $in {shlex.quote(str(kernels))} {shlex.quote(str(runtime))} "
        "-lpthread -ldl -lrt -o $out",
    )
    return _build(bindings, _folder(platform, work))


def _cuda_runtime() -> Path:
    """Return the static CUDA runtime that nvcc would link; nvcc itself may be a script elsewhere that starts it.

    Raises:
        NotBuilt: There is none where nvcc looks.
    """
    plan = subprocess.run(
        [native_build.find_nvcc(), "--dryrun", "none.cu", "-o", "none"], capture_output=True, text=True, check=False
    ).stderr
    for folder in re.findall(r'-L([^ "]+)', plan):
        if (found := Path(folder) / "libcudart_static.a").exists():
            return found.resolve()
    raise NotBuilt("nvcc has no libcudart_static.a; install the development files of the CUDA runtime")


def _folder(platform: Platform, work: Path) -> Path:
    return work / f"{platform.tag}-{platform.machine}"


def _build(module: Module, folder: Path) -> tuple[Path, dict[str, object]]:
    made = native_build.make(module, folder / module.name)
    return made, {"built": True, **module.report}
