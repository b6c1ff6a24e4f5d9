# SPDX-License-Identifier: Apache-2.0
"""Compiles asl_fast._native and asl_fast._native_cuda with ninja; imported by setup.py, never by the package.

Both modules are optional. What was built, with which compiler, and why something was not, is written to
``asl_fast/_build_info.json``, which ``python -m asl_fast.env`` reads.

Environment: ``CXX`` and ``NVCC`` name the compilers; ``ASL_FAST_NATIVE`` and ``ASL_FAST_CUDA`` are 0 (do not build) or
1 (an error unless built); ``ASL_FAST_CUDA_ARCHS`` replaces the list of architectures, for example ``"80,90"``;
``ASL_FAST_WERROR=1`` makes an error of whatever nvcc warns of (make; compilers that users bring may warn of more);
``ASL_FAST_SANITIZE=1`` puts the address and undefined-behaviour sanitizers into the C++ module (make sanitize);
``MAX_JOBS`` limits how many compilers run at once. Run as a program it builds and runs the C++ tests, and builds the
CUDA kernels for the CPU (``cuda_on_host``), which the tests that use them would otherwise do.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Contraction is off so that a function cloned for a newer processor rounds as the portable one does. Without floating
# point traps and errno, which nothing reads, a choice between two values becomes one instruction; no value changes.
COMMON_FLAGS = "-MMD -MF $out.d -std=c++17 -pthread -ffp-contract=off -fno-trapping-math -fno-math-errno -Wall -Wextra"
CXX_FLAGS = f"{COMMON_FLAGS} -O3 -fPIC -fvisibility=hidden"
SANITIZE = "-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
# Not part of "undefined": no divisor of the scalar maths is zero, and no number that becomes an integer too large.
FLOAT_CHECKS = "-fsanitize=float-cast-overflow,float-divide-by-zero"
CUDA_ARCHS = ("80", "90", "100")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX") or ".so"


class NotBuilt(Exception):
    """Why a module cannot be built, and what to do about it, in words for the user."""


@dataclass(frozen=True)
class Target:
    """What the C++ of a module is compiled with, and for which Python.

    Attributes:
        cxx: Command of the compiler.
        version: Of the compiler, for the build record.
        python: Folder of Python's headers.
        suffix: Of the names of that Python's extension modules.
        shared: Options that make a link give a module.
    """

    cxx: str
    version: str
    python: Path
    suffix: str
    shared: str

    @property
    def includes(self) -> str:
        """Options for the headers of csrc, pybind11 and Python.

        Raises:
            NotBuilt: There is no pybind11, or no header of Python.
        """
        try:
            import pybind11
        except ImportError as error:
            raise NotBuilt("pybind11 is not installed; pip install pybind11 ninja") from error
        if not (self.python / "Python.h").exists():
            raise NotBuilt(f"Python.h not found in {self.python}; install Python's headers, for example python3-dev")
        # Resolved: where another environment links to them nothing is compiled anew.
        headers = Path(pybind11.get_include()).resolve()
        return f"-I{ROOT / 'csrc'} -isystem {headers} -isystem {self.python}"


def here() -> Target:
    """Return the target of an ordinary build: the Python that runs this, on this machine."""
    cxx = find_cxx()
    shared = "-bundle -undefined dynamic_lookup" if sys.platform == "darwin" else "-shared -Wl,-s"
    return Target(cxx, _version(cxx), Path(sysconfig.get_path("include")), SUFFIX, shared)


@dataclass
class Module:
    """One library or program.

    Attributes:
        name: Of its folder under the work folder.
        sources: Files to compile.
        file: What they become.
        compile: Command per suffix of a source.
        link: Command.
        report: Its entry in the build record.
    """

    name: str
    sources: list[Path]
    file: str
    compile: dict[str, str]
    link: str
    report: dict[str, object] = field(default_factory=dict)


def _version(program: str) -> str:
    lines = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.splitlines()
    named = [line for line in lines if "release" in line] or lines
    return named[0].strip() if named else program


def _setting(name: str) -> bool | None:
    value = os.environ.get(name, "").strip()
    if value not in ("", "0", "1"):
        raise SystemExit(f"{name}={value!r}: expected 0, 1 or nothing")
    return None if value == "" else value == "1"


def find_cxx() -> str:
    """Return the path of the C++ compiler: ``CXX``, else g++, c++ or clang++ on the path."""
    if os.name == "nt":
        raise NotBuilt("the native module is not built on Windows; use Linux, macOS or WSL to have it")
    candidates = os.environ.get("CXX", "").split()[:1] or ["g++", "c++", "clang++"]
    for name in candidates:
        found = shutil.which(name)
        if found:
            return found
    raise NotBuilt(
        f"no C++ compiler found (tried {', '.join(candidates)}); install one, for example g++, and reinstall"
    )


def find_nvcc() -> str:
    """Return the path of nvcc: ``NVCC``, the path, ``CUDA_HOME``, ``/usr/local/cuda``; there need be no GPU."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    candidates = [os.environ.get("NVCC") or "nvcc", *(f"{home}/bin/nvcc" for home in [*homes, "/usr/local/cuda"])]
    for name in candidates:
        found = shutil.which(name)
        if found:
            return found
    raise NotBuilt("no nvcc found; install the CUDA toolkit, or set CUDA_HOME to it, and reinstall")


def cpu_module(target: Target | None = None) -> Module:
    """Describe the build of csrc/cpu and csrc/module.cpp, for any processor of the target's architecture."""
    target = target or here()
    sanitize = SANITIZE if _setting("ASL_FAST_SANITIZE") else ""
    define = shlex.quote(f'-DASL_COMPILER="{target.version}"')
    return Module(
        name="_native",
        sources=[ROOT / "csrc" / "module.cpp", *sorted((ROOT / "csrc" / "cpu").glob("*.cpp"))],
        file=f"_native{target.suffix}",
        compile={".cpp": f"{target.cxx} {CXX_FLAGS} {sanitize} {define} {target.includes} -c $in -o $out"},
        link=f"{target.cxx} {target.shared} {sanitize} -pthread $in -o $out",
        report={"compiler": target.version},
    )


def cuda_module(target: Target | None = None) -> Module:
    """Describe that of csrc/cuda, for each architecture nvcc knows of CUDA_ARCHS, and PTX for newer devices."""
    nvcc, cxx, target = find_nvcc(), find_cxx(), target or here()
    if sys.platform == "darwin":
        raise NotBuilt("CUDA is not available on macOS")
    requested = [part.strip() for part in os.environ.get("ASL_FAST_CUDA_ARCHS", "").split(",") if part.strip()]
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=False).stdout.split()
    archs = requested or [arch for arch in CUDA_ARCHS if f"compute_{arch}" in listed]
    if not archs:
        raise NotBuilt(f"{nvcc} knows none of sm_{', sm_'.join(CUDA_ARCHS)}; install CUDA 11.8 or newer")
    targets = " ".join(f"-gencode arch=compute_{arch},code=sm_{arch}" for arch in archs)
    targets += f" -gencode arch=compute_{archs[-1]},code=compute_{archs[-1]}"
    names = " ".join([*(f"sm_{arch}" for arch in archs), f"compute_{archs[-1]}"])
    flags = f"-O3 -std=c++17 -Xcompiler -fPIC,-fvisibility=hidden -ccbin {cxx} --cudart static"
    if _setting("ASL_FAST_WERROR"):
        flags += " -Werror all-warnings"
    define = shlex.quote(f'-DASL_CUDA_ARCHS="{names}"')
    return Module(
        name="_native_cuda",
        sources=sorted(path for path in (ROOT / "csrc" / "cuda").iterdir() if path.suffix in (".cpp", ".cu")),
        file=f"_native_cuda{target.suffix}",
        compile={
            ".cpp": f"{target.cxx} {CXX_FLAGS} {define} {target.includes} -c $in -o $out",
            ".cu": f"{nvcc} -MD -MF $out.d {flags} {targets} -I{ROOT / 'csrc'} -c $in -o $out",
        },
        link=f"{nvcc} -shared -ccbin {cxx} --cudart static $in -o $out",
        report={"compiler": _version(nvcc), "host_compiler": _version(cxx), "architectures": names.split()},
    )


def cpp_tests() -> Module:
    """Describe tests/cpp as one program under the sanitizers of addresses, undefined behaviour and floating point."""
    cxx = find_cxx()
    return Module(
        name="cpp_tests",
        sources=sorted((ROOT / "tests" / "cpp").glob("*.cpp")),
        file="cpp_tests",
        compile={
            ".cpp": f"{cxx} {COMMON_FLAGS} -O1 -Werror {SANITIZE} {FLOAT_CHECKS} -I{ROOT / 'csrc'} -c $in -o $out"
        },
        link=f"{cxx} -pthread {SANITIZE} $in -o $out",
    )


def cuda_on_host_module() -> Module:
    """Describe csrc/cuda for the CPU, over tests/cuda_on_host in place of the CUDA runtime; for tests, never installed.

    With ``ASL_FAST_SANITIZE=1`` under the address and undefined-behaviour sanitizers; otherwise only alignment and the
    bounds of arrays are checked, by the module itself. CUDA code reads a row of floats as float4, so aliasing is not
    strict.
    """
    cxx, stand_in = find_cxx(), ROOT / "tests" / "cuda_on_host"
    if sys.platform != "linux":
        raise NotBuilt("CUDA kernels run on the CPU only under Linux")
    sanitize = bool(_setting("ASL_FAST_SANITIZE"))
    compile = f"{cxx} {COMMON_FLAGS} -Wno-unknown-pragmas -O1 -fPIC -fvisibility=hidden -fno-strict-aliasing"
    compile += f" {SANITIZE if sanitize else ''} -I{stand_in} {here().includes}"
    define = "-DASL_CUDA_MODULE=_native_cuda_on_host -DASL_CUDA_ARCHS='\"host\"'"
    checks = "" if sanitize else "-fsanitize=alignment,bounds -fno-sanitize-recover=all"
    sources = [path for folder in (ROOT / "csrc" / "cuda", stand_in) for path in folder.iterdir()]
    return Module(
        name="cuda_on_host-sanitized" if sanitize else "cuda_on_host",
        sources=sorted(path for path in sources if path.suffix in (".cpp", ".cu")),
        file=f"_native_cuda_on_host{SUFFIX}",
        compile={
            ".cpp": f"{compile} {define} -c $in -o $out",
            ".cu": f"{compile} {checks} -x c++ -c $in -o $out",
        },
        link=f"{cxx} -shared {SANITIZE if sanitize else ''} -pthread $in -o $out",
    )


def build_cuda_on_host(module: Module) -> Path:
    """Compile what changed of :func:`cuda_on_host_module`; one process at a time, the others wait."""
    import fcntl

    folder = ROOT / "build" / module.name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return make(module, folder)


def make(module: Module, folder: Path) -> Path:
    """Compile what changed of a module and return its file.

    Raises:
        NotBuilt: There is no ninja, or a compiler failed.
    """
    made = _write_ninja(module, folder)
    _ninja(folder)
    return made


def _escape(path: Path) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def _write_ninja(module: Module, folder: Path) -> Path:
    """Write ``folder/build.ninja`` and return what it makes.

    Headers come from the compiler's depfiles; a changed command line rebuilds.
    """
    made = folder / module.file
    lines = ["ninja_required_version = 1.8", ""]
    for suffix, command in module.compile.items():
        lines += [f"rule compile{suffix}", f"  command = {command}", "  depfile = $out.d", "  deps = gcc"]
        lines += ["  description = compile $in"]
    lines += ["rule link", f"  command = {module.link}", "  description = link $out", ""]
    objects = []
    for source in module.sources:
        objects.append(folder / f"{source.name}.o")
        lines.append(f"build {_escape(objects[-1])}: compile{source.suffix} {_escape(source)}")
    lines += [f"build {_escape(made)}: link {' '.join(map(_escape, objects))}", ""]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.ninja").write_text("\n".join(lines))
    return made


def _ninja(folder: Path) -> None:
    try:
        from ninja import BIN_DIR

        program: str | None = str(Path(BIN_DIR) / "ninja")
    except ImportError:
        program = shutil.which("ninja")
    if program is None:
        raise NotBuilt("ninja is not installed; pip install pybind11 ninja")
    jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
    # A make above that runs several targets offers to share its jobs in a way that ninja does not reach, and says so.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")}
    done = subprocess.run(
        [program, "-C", str(folder), *jobs],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    (folder / "build.log").write_text(done.stdout)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-12:])
        raise NotBuilt(f"compilation failed; the whole log is {folder / 'build.log'} and ends with:\n{tail}")


def _install(file: Path, target: Path) -> None:
    """Copy by renaming, so that a process that has the old library loaded keeps it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(file, fresh)
    fresh.replace(target)


def run_cpp_tests(work: Path) -> int:
    """Build tests/cpp under ``work`` and run it; return its exit status."""
    return subprocess.run([str(make(cpp_tests(), work))], check=False).returncode


def build(work: Path, packages: Iterable[Path], *, strict: bool = False) -> list[Path]:
    """Build what can be built and put it, with ``_build_info.json``, into every folder of ``packages``.

    Args:
        work: Folder for objects and build.ninja; kept between calls, so that only what changed is compiled.
        packages: Folders that stand for the package ``asl_fast``.
        strict: A compiler that is found and fails is an error, as it is with ``ASL_FAST_NATIVE=1``.

    Returns:
        The files written.

    Raises:
        SystemExit: A module that the environment or ``strict`` requires was not built.
    """
    packages = list(packages)
    report: dict[str, object] = {"python": sys.version.split()[0], "platform": sysconfig.get_platform()}
    written: list[Path] = []
    for describe, name, variable in (
        (cpu_module, "_native", "ASL_FAST_NATIVE"),
        (cuda_module, "_native_cuda", "ASL_FAST_CUDA"),
    ):
        setting = _setting(variable)
        found = False
        try:
            if setting is False:
                raise NotBuilt(f"{variable}=0 at build time")
            module = describe()
            found = True
            library = make(module, work / name)
        except NotBuilt as reason:
            if setting or (strict and found):
                raise SystemExit(f"asl_fast.{name}: {reason}") from reason
            print(f"asl_fast: {name} is not built, the package works without it: {reason}", file=sys.stderr)
            report[name] = {"built": False, "reason": str(reason)}
            for package in packages:
                (package / f"{name}{SUFFIX}").unlink(missing_ok=True)
            continue
        report[name] = {"built": True, **module.report}
        for package in packages:
            _install(library, package / library.name)
            written.append(package / library.name)
    record = work / "_build_info.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(report, indent=2) + "\n")
    for package in packages:
        _install(record, package / record.name)
        written.append(package / record.name)
    return written


if __name__ == "__main__":
    try:
        status = run_cpp_tests(ROOT / "build" / "cpp_tests")
        if sys.platform == "linux":
            build_cuda_on_host(cuda_on_host_module())
        sys.exit(status)
    except NotBuilt as reason:
        sys.exit(f"C++ tests: {reason}")
