# SPDX-License-Identifier: Apache-2.0
"""The parts of the build that pyproject.toml cannot say: the mapped folder and the two optional native modules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "csrc"))

import native_build  # noqa: E402


class BuildNative(build_ext):
    """Replace setuptools' compilation by ninja's, which recompiles only what changed."""

    user_options: ClassVar = [*build_ext.user_options, ("strict", None, "fail when a compiler that was found fails")]
    boolean_options: ClassVar = [*build_ext.boolean_options, "strict"]

    def initialize_options(self) -> None:
        """Set the options to their defaults."""
        super().initialize_options()
        self.strict = False
        self.written: list[Path] = []

    def run(self) -> None:
        """Compile what changed, into the checkout or the folder that becomes the wheel."""
        inplace = self.inplace or self.editable_mode
        package = ROOT / "asl_fast" if inplace else Path(self.build_lib) / "asl_fast"
        work = ROOT / "build" / "native" / f"{sys.implementation.cache_tag}-{native_build.sysconfig.get_platform()}"
        self.written = native_build.build(work, [package], strict=bool(self.strict))

    def get_outputs(self) -> list[str]:
        """List the files that were written outside the checkout."""
        return [] if self.inplace or self.editable_mode else [str(path) for path in self.written]

    def get_output_mapping(self) -> dict[str, str]:
        """Map no built file to a place in the checkout: they are written there already."""
        return {}


setup(
    packages=[*find_packages(include=["asl_fast", "asl_fast.*"]), "asl_fast.kernels"],
    package_dir={"asl_fast": "asl_fast", "asl_fast.kernels": "kernels"},
    package_data={"asl_fast": ["py.typed"], "asl_fast.reporting": ["page/*"]},
    ext_modules=[Extension(f"asl_fast.{name}", sources=[], optional=True) for name in ("_native", "_native_cuda")],
    cmdclass={"build_ext": BuildNative},
)
