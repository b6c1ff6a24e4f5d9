# SPDX-License-Identifier: Apache-2.0
"""``torch.compile`` of a baseline, within a budget of time, with a reason where it does not work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.limit import OutOfTime, time_limit


class CompileError(RuntimeError):
    """Why a baseline could not be compiled."""


def compiled(function: Callable[..., Any], inputs: tuple[Any, ...], seconds: float) -> Callable[..., Any]:
    """Compile a function and call it twice: the second call finds out what the first left to compile.

    Raises:
        CompileError: It failed, or took longer than ``seconds``.
    """
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    # A venv's own ninja and compiler wrappers.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if "torch._dynamo" in sys.modules:  # else nothing was compiled yet
        torch._dynamo.reset()
    made = torch.compile(function)
    try:
        with time_limit(seconds):
            made(*inputs)
            made(*inputs)
    except OutOfTime:
        raise CompileError(f"compiling took more than {seconds:g} s") from None
    except Exception as error:  # the compiler raises anything
        first = str(error).strip().partition("\n")[0]
        raise CompileError(f"{type(error).__name__}: {first[:200]}") from error
    return made
