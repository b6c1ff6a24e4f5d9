# SPDX-License-Identifier: Apache-2.0
"""The one ``torch.library.Library`` of asl_fast and the way an op enters it.

The low-level interface (define, impl per dispatch key, register_fake, register_autograd) costs 2 to 5 microseconds a
call, ``torch.library.custom_op`` 10 to 18. Schemas have no default values: the dispatcher drops arguments that equal
their default, and the kernels take them by position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from asl_fast.ops import _dispatch
from asl_fast.ops._library import LIBRARY


def define(
    schema: str,
    *,
    fake: Callable[..., Any],
    check_values: Callable[..., None] | None = None,
) -> Callable[..., Any]:
    """Defines ``asl_fast::<schema>`` for CPU and CUDA tensors and returns the callable op.

    Args:
        schema: "name(Tensor a, int n, ...) -> Tensor", without default values. ``name`` is the key in the tables of
            ``_dispatch``.
        fake: shapes and dtypes of the results, for tracing.
        check_values: called with the op's arguments before a CPU kernel; raises on values that are out of range. It is
            not called on a GPU, where reading a value would wait for the device.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    LIBRARY.impl(
        name,
        _dispatch.kernel(
            name, "cpu", lambda *a: a, None if check_values is None else (lambda a: check_values(*a)), legacy=True
        ),
        "CPU",
    )  # type: ignore[no-untyped-call]
    LIBRARY.impl(name, _dispatch.kernel(name, "cuda", lambda *a: a, legacy=True), "CUDA")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"asl_fast::{name}", fake, lib=LIBRARY)
    op: Callable[..., Any] = getattr(torch.ops.asl_fast, name).default
    return op


def differentiable(name: str, *, setup_context: Callable[..., None], backward: Callable[..., Any]) -> None:
    """Registers the derivative formula of ``asl_fast::<name>``."""
    torch.library.register_autograd(f"asl_fast::{name}", backward, setup_context=setup_context, lib=LIBRARY)


def refuse_double_backward(op: str) -> None:
    """Raises within ``backward(create_graph=True)``: the saved first derivatives would silently count as constants."""
    if torch.is_grad_enabled():
        raise NotImplementedError(
            f"{op} has no second derivative; for create_graph=True use the plain formula in asl_fast.reference.{op}"
        )


def require_unit_gradient(op: str, computed: bool) -> None:
    """Raises when backward needs a derivative that the forward was told not to compute."""
    if not computed:
        raise RuntimeError(f"asl_fast::{op} was called with need_... = False for a tensor that requires grad")
