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
from contextlib import nullcontext
from typing import Any, Protocol, get_type_hints

import torch
from torch import Tensor
from torch.autograd import forward_ad

from asl_fast.backend import backend, forced_backend
from asl_fast.ops import _dispatch

# Name of an op -> its operands.
OPERANDS: dict[str, type[Any]] = {}


class _Library(torch.library.Library):
    """A library whose derivatives refuse forward mode, in which torch would take the results for constants.

    It runs where torch has unwrapped the tensors of its transforms, so that of each level the tangents show.
    """

    def impl(self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", **options: Any) -> Any:
        if dispatch_key != "Autograd":
            return super().impl(op_name, fn, dispatch_key, **options)  # type: ignore[no-untyped-call]

        def refusing(keyset: Any, *values: Any) -> Any:
            if forward_ad._current_level >= 0:  # no more than this where there is no forward mode
                _refuse_forward_mode(op_name, OPERANDS[op_name].__module__, values)
            return fn(keyset, *values)

        return super().impl(op_name, refusing, dispatch_key, **options)  # type: ignore[no-untyped-call]


LIBRARY = _Library("asl_fast", "DEF")  # type: ignore[no-untyped-call]

_SAME_BACKEND = nullcontext()

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
        name: Name of the op; the key in the tables of ``_dispatch``.
        check_values: Called with the operands before a CPU kernel; raises on values that are out of range. It is not
            called on a GPU, where reading a value would wait for the device.

    Returns:
        The op, which takes the operands one by one: ``op(*operands)``.
    """
    OPERANDS[name] = operands
    # A result may lie in memory as an operand does, so a compiler must keep the order of the strides that it traced.
    tags = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)
    LIBRARY.define(f"{name}({_parameters(operands)}) -> {_returns(operands)}", tags=tags)  # type: ignore[no-untyped-call]
    LIBRARY.impl(name, _dispatch.kernel(name, "cpu", operands, check_values), "CPU")
    LIBRARY.impl(name, _dispatch.kernel(name, "cuda", operands), "CUDA")

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
        name: Name of the op.
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
    # Names become positions here, once, and not at every call.
    types = get_type_hints(operands)
    tensors = _places(operands, [field for field in operands._fields if types[field] in (Tensor, Tensor | None)])
    places = _places(operands, keep_operands), _places(outputs, keep_outputs)
    always_constant = () if callable(constant) else _places(outputs, constant)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        results = output if isinstance(output, tuple) else (output,)
        constants = _places(outputs, constant(operands(*inputs))) if callable(constant) else always_constant
        ctx.mark_non_differentiable(*[results[place] for place in constants])
        ctx.set_materialize_grads(False)
        ctx.backend = forced_backend()
        ctx.numbers, ctx.forms = list(inputs), []
        for place in tensors:
            value, ctx.numbers[place] = inputs[place], None
            ctx.forms.append(None if value is None else (value.dtype, value.dim()))
        of_operands, of_outputs = places
        ctx.save_for_backward(*[inputs[place] for place in of_operands], *[results[place] for place in of_outputs])

    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        _refuse_double_backward(name, operands.__module__)
        if forward_ad._current_level >= 0:
            _refuse_forward_mode(name, operands.__module__, (*grads, *ctx.saved_tensors))
        if all(grad is None for grad in grads):
            return (None,) * len(operands._fields)
        given, found, saved = list(ctx.numbers), [None] * len(outputs._fields), iter(ctx.saved_tensors)
        for values, of_values in zip((given, found), places, strict=True):
            for place in of_values:
                values[place] = next(saved)
        needed = operands(*ctx.needs_input_grad)
        with _SAME_BACKEND if forced_backend() == ctx.backend else backend(ctx.backend):
            by_name = gradients(operands(*given), outputs(*found), outputs(*grads), needed)
        results: list[Tensor | None] = [None] * len(operands._fields)
        for place, form in zip(tensors, ctx.forms, strict=True):
            gradient = by_name.get(operands._fields[place]) if needed[place] else None
            results[place] = None if gradient is None else _like_operand(gradient, *form)
        return tuple(results)

    torch.library.register_autograd(f"asl_fast::{name}", backward, setup_context=setup_context, lib=LIBRARY)


def _places(named: type[Any], names: Sequence[str]) -> tuple[int, ...]:
    """Return where the fields of these names are in a NamedTuple."""
    return tuple(named._fields.index(name) for name in names)


def _like_operand(gradient: Tensor, dtype: torch.dtype, dimensions: int) -> Tensor:
    """Return the gradient in the operand's dtype, summed over trailing dimensions that the operand lacks."""
    if gradient.dim() > dimensions:
        gradient = gradient.sum(dim=tuple(range(dimensions, gradient.dim())))
    return gradient.to(dtype)


def _refuse_double_backward(op: str, module: str) -> None:
    """Raise within ``backward(create_graph=True)``: the saved first derivatives would silently count as constants."""
    if torch.is_grad_enabled():
        raise NotImplementedError(
            f"{op} has no second derivative; for create_graph=True use the plain formula in {module}"
        )


def _refuse_forward_mode(op: str, module: str, values: Sequence[Any]) -> None:
    """Raise within ``torch.func.jvp``, ``jacfwd`` or ``forward_ad`` if they follow one of these values."""
    unpack: Callable[[Tensor], Any] = forward_ad.unpack_dual
    if torch._C._is_fwd_grad_enabled() and any(
        isinstance(value, Tensor) and unpack(value).tangent is not None for value in values
    ):
        raise NotImplementedError(
            f"{op} has no forward-mode derivative; for torch.func.jvp, jacfwd and forward_ad use the plain formula in "
            f"{module}"
        )


def may_need_gradient(*tensors: Tensor | None) -> bool:
    """Tell whether backward may ask for a gradient of these; inside ``torch.vmap`` the tensor itself hides it."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and (tensor.requires_grad or _requires_grad_inside(tensor)):
                return True
    return False


def _requires_grad_inside(tensor: Tensor) -> bool:
    """Tell whether a tensor that a transform has wrapped requires grad; a compiler does not follow this."""
    if torch.compiler.is_compiling():
        return False
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
        if tensor.requires_grad:
            return True
    return False


def require_unit_gradient(op: str, computed: bool) -> None:
    """Raise when backward needs a derivative that the forward was told not to compute."""
    if not computed:
        raise RuntimeError(
            f"asl_fast::{op} was called with need_... = False for a tensor that requires grad; set it, or call the "
            "public function, which does, and not inside a torch.vmap that torch.compile traces"
        )
