# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels, found again by what the compiler is told of a launch, so that a launch takes Python microseconds.

Triton binds, classifies and formats every argument anew at each launch, which takes longer than the kernels of a small
loss. Here one pass over the arguments makes a key, and the compiled kernel of that key is called at once. The key tells
apart at least what Triton tells apart: the type of each argument, whether a pointer is a multiple of 16, the width of
an integer (and, unless the kernel says ``do_not_specialize``, whether it is 1 or a multiple of 16), every constant and
option by type and value, and the device. Whatever is not foreseen here goes Triton's own way, every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import triton
from torch import Tensor
from triton.compiler import CompiledKernel
from triton.runtime import JITFunction, driver

# Versions for which this is written: all of them call a compiled kernel alike, with every argument in order.
KNOWN = ("3.5.", "3.6.", "3.7.")

_RUN = JITFunction.run  # tools replace it to see what is launched
_CONSTANT, _SPECIALISED, _PLAIN = range(3)  # what the compiler is told of a number: all, some of its value, its width


class _Handle(NamedTuple):
    """A compiled kernel, loaded on a device."""

    run: Any
    function: Any
    metadata: Any
    read: tuple[tuple[Mapping[str, Any], str, Any], ...]  # globals that were compiled in


class _Form(NamedTuple):
    """The launches of a kernel that give the same arguments by position and by name."""

    kernel: Any  # kept, so that no other kernel gets its id
    rules: tuple[int, ...]
    by_name: tuple[str, ...]  # arguments after those by position, in the kernel's order
    options: tuple[str, ...]  # the other names: options of the compiler
    handles: dict[tuple[Any, ...], _Handle]


_forms: dict[tuple[Any, ...], _Form | None] = {}  # None: launches that are always Triton's


def launch(kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Launch a kernel as ``kernel[grid](*arguments, **options)`` does, by its handle where there is one."""
    shape = (id(kernel), len(arguments), *options)
    try:
        form = _forms[shape]
    except KeyError:
        form = _forms[shape] = _form(kernel, len(arguments), options)
    if form is None or not _nobody_looks(kernel):
        kernel[grid](*arguments, **options)
        return
    values = (*arguments, *map(options.__getitem__, form.by_name))
    active = driver.active
    device = active.get_current_device()
    key = _key(device, form, values, options)
    handle = None if key is None else form.handles.get(key)
    if handle is None or any(scope.get(name) is not value for scope, name, value in handle.read):
        compiled = kernel[grid](*arguments, **options)
        # AMD's compiler is told more of a pointer.
        if key is not None and isinstance(compiled, CompiledKernel) and compiled.metadata.target.backend == "cuda":
            form.handles[key] = _handle(kernel, compiled)
        return
    x, y, z = (*grid, 1, 1)[:3]
    stream = active.get_current_stream(device)
    handle.run(x, y, z, stream, handle.function, handle.metadata, None, None, None, *values)


def _form(kernel: Any, positional: int, options: Mapping[str, Any]) -> _Form | None:
    if type(kernel) is not JITFunction or not triton.__version__.startswith(KNOWN):
        return None
    names = [parameter.name for parameter in kernel.params]
    by_name = tuple(names[positional:])
    if positional > len(names) or not set(by_name) <= set(options) or set(names[:positional]) & set(options):
        return None  # defaults, or mistakes, of which Triton tells
    rules = tuple(
        _CONSTANT if parameter.is_constexpr else _PLAIN if parameter.do_not_specialize else _SPECIALISED
        for parameter in kernel.params
    )
    return _Form(kernel, rules, by_name, tuple(name for name in options if name not in by_name), {})


def _nobody_looks(kernel: Any) -> bool:
    """Tell whether nothing is asked of Triton but the launch: no hook, no debugging, nobody who records."""
    knobs = triton.knobs
    runtime = knobs.runtime
    return (
        JITFunction.run is _RUN
        and not runtime.debug
        and not getattr(runtime.launch_enter_hook, "calls", runtime.launch_enter_hook)
        and not getattr(runtime.launch_exit_hook, "calls", runtime.launch_exit_hook)
        and getattr(runtime, "add_stages_inspection_hook", None) is None
        and not getattr(knobs.compilation, "instrumentation_mode", "")
        and not kernel.pre_run_hooks
    )


def _key(device: int, form: _Form, values: Sequence[Any], options: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return what the compiler is told of a launch; None where a value is of no type that is known here.

    What an argument adds begins with its type, which says how many parts follow, so no two launches look alike.
    """
    parts: list[Any] = [device]
    add = parts.append
    for value, rule in zip(values, form.rules, strict=True):
        if rule == _CONSTANT:
            add(type(value))
            add(value)
        elif value is None:
            add(None)
        elif isinstance(value, Tensor):
            add(value.dtype)
            add(value.data_ptr() % 16 == 0)
        elif type(value) is int:
            add("i32" if -0x80000000 <= value < 0x80000000 else value >> 63)  # beyond: by sign, and 1 if unsigned
            if rule == _SPECIALISED:
                add("one" if value == 1 else value % 16 == 0)
        elif type(value) is float or type(value) is bool:
            add(type(value))
        else:
            return None
    for name in form.options:
        value = options[name]
        if value is not None and not isinstance(value, (int, str)):
            return None
        add(type(value))
        add(value)
    return tuple(parts)


def _handle(kernel: Any, compiled: Any) -> _Handle:
    read = tuple((scope, name, scope.get(name)) for (name, _), (_, scope) in kernel.used_global_vals.items())
    return _Handle(compiled.run, compiled.function, compiled.packed_metadata, read)
