# SPDX-License-Identifier: Apache-2.0
"""Run asl_fast::contrastive_similarity_loss and its backward by the compiled modules."""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor

from asl_fast.kernels.launch_counter import counter
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import address, view
from asl_fast.reference import _outputs
from asl_fast.reference._precision import compute_dtype
from asl_fast.reference.contrastive_similarity import (
    BackwardOperands,
    BackwardOutputs,
    Operands,
    Outputs,
    leave_out_padding,
)

Given = TypeVar("Given", Operands, BackwardOperands)


def _as_compiled(given: Given) -> Given:
    """Make everything contiguous, indices int64, segments and Gaussians of the compute dtype."""
    dtype = compute_dtype(given.features)
    given = given._replace(
        segments=given.segments.to(dtype),
        labels=given.labels.to(torch.int64),
        video_offsets=given.video_offsets.to(torch.int64),
        mu=given.mu.to(dtype),
        sigma=given.sigma.to(dtype),
    )
    return _buffers.contiguous_operands(given)


def _tensors(module: ModuleType, given: Operands | BackwardOperands, saved: Outputs | BackwardOperands) -> Any:
    """Gather the call's tensors as both modules take them; the caller keeps them alive."""
    batch, frames, channels = given.features.shape
    return module.ContrastiveBuffers(
        features=view(given.features),
        mask=address(given.mask),
        segments=address(given.segments),
        labels=address(given.labels),
        video_offsets=address(given.video_offsets),
        mu=address(given.mu),
        sigma=address(given.sigma),
        vectors=address(saved.vectors),
        stats=address(saved.stats),
        ranges=address(saved.ranges),
        anchors=address(saved.anchors),
        batch=batch,
        frames=frames,
        channels=channels,
        count=given.segments.shape[0],
        classes=given.mu.shape[0],
    )


def _without_instances(given: Operands, found: Outputs) -> Outputs:
    found.loss.zero_()
    found.anchors.fill_(1)
    if given.base is None:
        found.total.zero_()
    else:
        found.total.copy_(given.base)
    return found


@leave_out_padding
def cpu(given: Operands) -> Outputs:
    """Compute with ``torch.get_num_threads()`` threads over instances and blocks of anchors."""
    found = given.outputs()
    if not given.segments.shape[0]:
        return _without_instances(given, found)
    found.leave_similarities()
    given, module = _as_compiled(given), _buffers.cpu_module()
    module.contrastive_similarity_forward(
        buffers=_tensors(module, given, found),
        delta=given.delta,
        temperature=given.temperature,
        out_loss=address(found.loss),
        threads=torch.get_num_threads(),
    )
    given.write_total(found)
    return found


def cpu_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients with ``torch.get_num_threads()`` threads over frames and instances."""
    given = given.without_padding()
    found = given.outputs()
    if not given.segments.shape[0]:
        return BackwardOutputs(*(gradient.zero_() for gradient in found))
    given, module = _as_compiled(given), _buffers.cpu_module()
    computed = found.in_dtype(given.vectors.dtype)
    module.contrastive_similarity_backward(
        buffers=_tensors(module, given, given),
        grad=float(given.loss_gradient()),
        temperature=given.temperature,
        out_grad_features=address(computed.grad_features),
        out_grad_mu=address(computed.grad_mu),
        out_grad_sigma=address(computed.grad_sigma),
        threads=torch.get_num_threads(),
    )
    found.take(computed)
    return found


def cuda(given: Operands) -> Outputs:
    """Compute in two launches; scratch memory is linear in the number of instances."""
    found = given.outputs()
    if not given.segments.shape[0]:
        return _without_instances(given, found)
    found.leave_similarities()
    given, module = _as_compiled(given), _buffers.cuda_module()
    features, dtype = given.features, found.loss.dtype
    base: Tensor | None = None if given.base is None else given.base.to(dtype)
    numbers = module.contrastive_similarity_parts(count=given.segments.shape[0], is_double=dtype == torch.float64)
    parts = _outputs.empty((numbers,), dtype, features.device)
    with _buffers.on_device_of(features):
        module.contrastive_similarity_forward(
            buffers=_tensors(module, given, found),
            delta=given.delta,
            temperature=given.temperature,
            base=address(base),
            weight=given.weight,
            parts=address(parts),
            counter=address(counter(features)),
            out_total=address(found.total),
            out_loss=address(found.loss),
            stream=_buffers.stream(features),
        )
    return found


def cuda_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients in two launches."""
    found = given.outputs()
    if not given.segments.shape[0]:
        return BackwardOutputs(*(gradient.zero_() for gradient in found))
    given, module = _as_compiled(given), _buffers.cuda_module()
    features, vectors = given.features, given.vectors
    grad_vectors = _outputs.empty(vectors.shape, vectors.dtype, vectors.device)
    of_gaussians = given.segments.shape[0] if given.need_gaussians else 0
    each = _outputs.empty((of_gaussians, 6), vectors.dtype, vectors.device)
    with _buffers.on_device_of(features):
        module.contrastive_similarity_backward(
            buffers=_tensors(module, given, given),
            grad_total=view(given.grad_total),
            grad_loss=view(given.grad_loss),
            temperature=given.temperature,
            weight=given.weight,
            grad_vectors=address(grad_vectors),
            each=address(each),
            counter=address(counter(features)),
            out_grad_features=address(found.grad_features),
            out_grad_mu=view(found.grad_mu),
            out_grad_sigma=view(found.grad_sigma),
            stream=_buffers.stream(features),
        )
    return found
