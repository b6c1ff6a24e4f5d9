# SPDX-License-Identifier: Apache-2.0
"""Looks into compiled modules and wheels, for any architecture, without running them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

# Names of architectures in ELF, and libraries that every Linux system has.
MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
OF_THE_SYSTEM = re.compile(r"(libc|libm|libpthread|libdl|librt)\.so\.\d|ld-linux-(x86-64|aarch64)\.so\.\d")
# Weak references that libraries make to what may not be there; nobody calls them then.
OPTIONAL = re.compile(r"__gmon_start__|_ITM_\w+|_ZGTt\w+|__cxa_\w+|_dl_relocate_static_pie")


class Unfit(SystemExit):
    """A module or wheel that does not do what its tags promise."""


def check_module(file: Path, machine: str, glibc: tuple[int, int]) -> None:
    """Refuse a module that would not load on a system with this architecture and this old a glibc.

    Args:
        file: The extension module.
        machine: As wheels name it, "x86_64" or "aarch64".
        glibc: Version that the system has.

    Raises:
        Unfit: It is for another architecture, needs other libraries or newer symbols, leaves a symbol open that
            neither glibc nor Python has, or shows more than the function that Python looks for.
    """
    with file.open("rb") as stream:
        elf = ELFFile(stream)
        found = elf["e_machine"]
        if found != MACHINES[machine]:
            raise Unfit(f"{file}: is for {found}, expected {MACHINES[machine]}")
        needed = [tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")]
        if others := [name for name in needed if not OF_THE_SYSTEM.fullmatch(name)]:
            raise Unfit(f"{file}: needs {', '.join(others)}, which not every system has")
        versioned: set[int] = set()
        newer: list[str] = []
        for section in elf.iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, versions in section.iter_versions():
                    for version in versions:
                        versioned.add(version["vna_other"])
                        name = str(version.name)
                        number = tuple(map(int, re.findall(r"\d+", name)))
                        if not name.startswith("GLIBC_") or number > glibc:
                            newer.append(name)
        if newer:
            raise Unfit(f"{file}: needs {', '.join(sorted(newer))}; glibc {glibc[0]}.{glibc[1]} is promised")
        symbols = elf.get_section_by_name(".dynsym")
        assert isinstance(symbols, SymbolTableSection)
        of_version = [entry["ndx"] for entry in elf.get_section_by_name(".gnu.version").iter_symbols()]
        undefined, shown = [], []
        for symbol, index in zip(symbols.iter_symbols(), of_version, strict=True):
            if not symbol.name:
                continue
            if symbol["st_shndx"] != "SHN_UNDEF":
                shown.append(symbol.name)
            elif index not in versioned and not re.match(r"_?Py", symbol.name):
                weak = symbol["st_info"]["bind"] == "STB_WEAK" and OPTIONAL.fullmatch(symbol.name)
                undefined += [] if weak else [symbol.name]
        if undefined:
            raise Unfit(f"{file}: nobody defines {', '.join(undefined)}")
        if len(shown) != 1 or not shown[0].startswith("PyInit_"):
            raise Unfit(f"{file}: shows {', '.join(shown[:5]) or 'nothing'}; expected its PyInit function alone")


def check_wheel(wheel: Path, platform: str) -> None:
    """Ask auditwheel whether a wheel keeps what its platform tag promises.

    Raises:
        Unfit: The tag is another, says auditwheel.
    """
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = " ".join(done.stdout.split())
    if done.returncode or f'consistent with the following platform tag: "{platform}"' not in said:
        raise Unfit(f"{wheel}: auditwheel does not find it to be {platform}:\n{done.stdout}{done.stderr}")


def describe(file: Path) -> str:
    """Return the name and size of a file in one line."""
    return f"{file.name}  {file.stat().st_size / 1e6:.2f} MB"
