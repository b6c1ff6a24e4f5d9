# SPDX-License-Identifier: Apache-2.0
"""The one ``torch.library.Library`` of asl_fast and the way an op enters it.

What an op takes is a NamedTuple of ``asl_fast.reference.<op>``, its operands. The schema is read off its fields, every
implementation takes it, its method ``outputs`` allocates the results and serves as the shape rule for tracing, and
gradients are returned by the names of its fields. So a parameter is listed there and in the public function only.

The low-level interface (define, impl per dispatch key, register_fake, register_autograd) costs 2 to 5 microseconds a
call, ``torch.library.custom_op`` 10 to 18. Schemas have no default values: the dispatcher drops arguments that equal
their default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, get_type_hints

import torch
from torch import Tensor

from asl_fast.backend import backend, forced_backend
from asl_fast.ops import _dispatch

# name of an op -> what it takes.
OPERANDS: dict[str, type[Any]] = {}

LIBRARY = torch.library.Library("asl_fast", "DEF")  # type: ignore[no-untyped-call]

# How a field's type is written in a schema.
SCHEMA_TYPES: Mapping[Any, str] = {
    Tensor: "Tensor",
    Tensor | None: "Tensor?",
    bool: "bool",
    int: "SymInt",  # a size may be one that a traced graph leaves open
    float: "float",
    float | None: "float?",
    str: "str",
    Sequence[bool]: "bool[]",
    Sequence[int]: "int[]",
    Sequence[float]: "float[]",
}


class Operands(Protocol):
    """A NamedTuple of what an op takes; ``outputs`` allocates what it gives, from shapes and dtypes alone."""

    _fields: tuple[str, ...]

    def outputs(self) -> Any:
        """Return uninitialised results, a NamedTuple of tensors."""


def define(operands: type[Any], name: str, *, check_values: Callable[[Any], None] | None = None) -> Callable[..., Any]:
    """Define ``asl_fast::<name>`` for CPU and CUDA tensors.

    Args:
        operands: NamedTuple as in :class:`Operands`.
        name: of the op; the key in the tables of ``_dispatch``.
        check_values: Called with the operands before a CPU kernel; raises on values that are out of range. It is not
            called on a GPU, where reading a value would wait for the device.

    Returns:
        The op, which takes the operands one by one: ``op(*operands)``.
    """
    OPERANDS[name] = operands
    tags = (torch.Tag.pt2_compliant_tag,)
    LIBRARY.define(f"{name}({_parameters(operands)}) -> {_returns(operands)}", tags=tags)  # type: ignore[no-untyped-call]
    LIBRARY.impl(name, _dispatch.kernel(name, "cpu", operands, check_values), "CPU")  # type: ignore[no-untyped-call]
    LIBRARY.impl(name, _dispatch.kernel(name, "cuda", operands), "CUDA")  # type: ignore[no-untyped-call]

    def fake(*values: Any) -> Any:
        return _dispatch.as_returned(operands(*values).outputs())

    torch.library.register_fake(f"asl_fast::{name}", fake, lib=LIBRARY)
    op: Callable[..., Any] = getattr(torch.ops.asl_fast, name).default
    return op


def _parameters(operands: type[Any]) -> str:
    types = get_type_hints(operands)
    return ", ".join(f"{SCHEMA_TYPES[types[field]]} {field}" for field in operands._fields)


def _outputs_type(operands: type[Any]) -> Any:
    return get_type_hints(operands.outputs)["return"]


def _returns(operands: type[Any]) -> str:
    return f"({', '.join(f'Tensor {field}' for field in _outputs_type(operands)._fields)})"


def differentiable(
    operands: type[Any],
    name: str,
    gradients: Callable[[Any, Any, Any, Any], Mapping[str, Tensor | None]],
    *,
    keep_operands: Sequence[str] = (),
    keep_outputs: Sequence[str] = (),
    constant: Callable[[Any], Sequence[str]] | Sequence[str] = (),
) -> None:
    """Register the derivative of ``asl_fast::<name>``; ops that it calls run under the backend of the forward pass.

    Args:
        operands: As for :func:`define`.
        name: of the op.
        gradients: ``gradients(given, found, grads, needed)`` returns gradients by the names of the operands, in any
            floating type; a gradient that has more dimensions than its operand is summed over the last of them.
            ``given`` and ``found`` are the operands and outputs of the forward pass, but of their tensors only those
            that are kept, None for the others. ``grads`` are the gradients of the outputs (None where there is none,
            but not all None), ``needed`` says by name which operands need one.
        keep_operands: Names of the tensors among the operands that the backward pass needs.
        keep_outputs: Likewise of the outputs.
        constant: Names of outputs that carry no gradient, or a function of the operands that gives them.
    """
    outputs = _outputs_type(operands)
    # Places of the names, looked up once: these functions run in every training step.
    place, result_place = ({field: at for at, field in enumerate(each._fields)} for each in (operands, outputs))
    types = get_type_hints(operands)
    tensors = [at for field, at in place.items() if types[field] in (Tensor, Tensor | None)]
    kept, kept_results = [place[field] for field in keep_operands], [result_place[field] for field in keep_outputs]
    module = operands.__module__

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        results = output if isinstance(output, tuple) else (output,)
        names = constant(operands(*inputs)) if callable(constant) else constant
        if names:
            ctx.mark_non_differentiable(*[results[result_place[field]] for field in names])
        ctx.set_materialize_grads(False)
        ctx.backend = forced_backend()
        ctx.numbers = list(inputs)
        ctx.dimensions = {at: inputs[at].dim() for at in tensors if inputs[at] is not None}
        for at in tensors:
            ctx.numbers[at] = None
        ctx.save_for_backward(*[inputs[at] for at in kept], *[results[at] for at in kept_results])

    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        _refuse_double_backward(name, module)
        gradients_of: list[Tensor | None] = [None] * len(place)
        if all(grad is None for grad in grads):
            return tuple(gradients_of)
        saved, values, results = iter(ctx.saved_tensors), list(ctx.numbers), [None] * len(result_place)
        for at in kept:
            values[at] = next(saved)
        for at in kept_results:
            results[at] = next(saved)
        needed = ctx.needs_input_grad
        with backend(ctx.backend):
            by_name = gradients(operands(*values), outputs(*results), outputs(*grads), operands(*needed))
        for field, grad in by_name.items():
            at = place[field]
            if needed[at] and grad is not None:
                # Autograd rounds it to the dtype of the operand.
                gradients_of[at] = _summed_to(ctx.dimensions[at], grad)
        return tuple(gradients_of)

    torch.library.register_autograd(f"asl_fast::{name}", backward, setup_context=setup_context, lib=LIBRARY)


def _summed_to(dimensions: int, grad: Tensor) -> Tensor:
    """The gradient, summed over trailing dimensions that the operand does not have."""
    return grad if grad.dim() <= dimensions else grad.sum(dim=tuple(range(dimensions, grad.dim())))


def _refuse_double_backward(op: str, module: str) -> None:
    """Raise within ``backward(create_graph=True)``: the saved first derivatives would silently count as constants."""
    if torch.is_grad_enabled():
        raise NotImplementedError(
            f"{op} has no second derivative; for create_graph=True use the plain formula in {module}"
        )


def require_unit_gradient(op: str, computed: bool) -> None:
    """Raise when backward needs a derivative that the forward was told not to compute."""
    if not computed:
        raise RuntimeError(f"asl_fast::{op} was called with need_... = False for a tensor that requires grad")
