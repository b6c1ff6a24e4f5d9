# SPDX-License-Identifier: Apache-2.0
"""Forcing one implementation of every op: ``ASL_FAST_BACKEND=triton`` or ``with asl_fast.backend("triton"):``.

Left alone, each op runs the first implementation in the table of ``asl_fast/ops/_dispatch.py`` that can run here. A
forced one that cannot raises ``RuntimeError`` with the reason; nothing is ever replaced silently.
"""

from __future__ import annotations

import os
from contextvars import ContextVar, Token
from types import TracebackType

NAMES = ("reference", "cpu", "triton", "cuda")

_environment = os.environ.get("ASL_FAST_BACKEND") or None
_forced: ContextVar[str | None] = ContextVar("asl_fast_backend", default=_environment)


class backend:
    """Context manager within which every op runs the named implementation, or raises.

    ``with asl_fast.backend("reference"):`` is local to the thread (and to the asyncio task). It nests, and None inside
    lifts an outer choice. A backward pass uses the backend under which its forward ran. Ops called from a
    ``torch.compile``d function obey the backend in force around the call of the compiled function; do not open the
    context inside of it.

    Args:
        name: "reference" (plain PyTorch), "cpu" (C++), "triton", "cuda", or None for the table's own choice.

    Raises:
        ValueError: The name is none of these.
    """

    def __init__(self, name: str | None) -> None:
        if name is not None:
            check_name(name, "asl_fast.backend")
        self.name = name
        self._tokens: list[Token[str | None]] = []

    def __enter__(self) -> backend:
        self._tokens.append(_forced.set(self.name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _forced.reset(self._tokens.pop())


def forced_backend() -> str | None:
    """Return the name of the backend that is forced here, or None."""
    return _forced.get()


def check_name(name: str, source: str) -> None:
    """Raise ValueError when ``name`` is no backend; ``source`` says where it was given."""
    if name not in NAMES:
        raise ValueError(f"{source}: unknown backend {name!r}; choose one of {', '.join(NAMES)}")
