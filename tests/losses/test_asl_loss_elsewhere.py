# SPDX-License-Identifier: Apache-2.0
"""ASLLoss in loops that are not ours: scaled gradients, several processes, sharded parameters, channels first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asl_fast.losses import ASLLoss
from asl_fast.losses.former_names import with_present_names
from tests.losses.scene import CLASSES, DIM, PLAIN, asl_loss, batch
from tests.torchrun import torchrun

WORKER = """
import os
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from tests.losses.scene import asl_loss, batch

torch.set_num_threads(1)
dist.init_process_group("gloo")


def gradients(loss, data):
    loss(*data)["total"].backward()
    return {name.removeprefix("module."): parameter.grad for name, parameter in loss.named_parameters()}


# A loss of its own in each process; one loss of all is tested in test_peers.py.
OWN = {"pool_processes": False}
alone = [gradients(asl_loss(**OWN), batch(rank)) for rank in range(2)]
expected = {name: (alone[0][name] + alone[1][name]) / 2 for name in alone[0]}
own = batch(dist.get_rank())

replicated = DistributedDataParallel(asl_loss(**OWN))
for name, found in gradients(replicated, own).items():
    torch.testing.assert_close(found, expected[name])
torch.optim.SGD(replicated.parameters(), lr=0.1).step()
weights = torch.cat([parameter.detach().flatten() for parameter in replicated.parameters()])
both = [torch.empty_like(weights) for _ in range(2)]
dist.all_gather(both, weights)
assert torch.equal(*both)
# Gaussians that only say where the contrastive loss looks are parameters without gradient.
gradients(DistributedDataParallel(asl_loss(class_level=False)), own)

# What torch 2.6 shards on CPUs, it cannot gather again: its streams of a CPU record no event.
if hasattr(torch.cpu.Stream, "record_event"):
    sharded = asl_loss(**OWN)
    fully_shard(sharded, mesh=init_device_mesh("cpu", (2,)))
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    for name, found in gradients(sharded, own).items():
        torch.testing.assert_close(found.full_tensor(), expected[name])
    assert set(sharded.no_weight_decay_parameters()) <= set(sharded.parameters())
print("two processes agree", flush=True)
dist.destroy_process_group()
# A mesh keeps the group's threads, and one that lets go of a tensor while the interpreter ends aborts the process.
os._exit(0)
"""


def test_two_processes_replicated_and_sharded(tmp_path: Path) -> None:
    pytest.importorskip("torch.distributed.fsdp", reason="needs a torch with torch.distributed")
    done = torchrun(WORKER, tmp_path / "worker.py", processes=2)
    assert done.stdout.count("two processes agree") == 2


@pytest.mark.parametrize("joined", [False, True], ids=["levels", "joined"])
def test_channels_first_is_the_same_loss(joined: bool) -> None:
    last, first = batch(grad=True), batch(grad=True)
    expected = asl_loss()(*last)
    turned = [[each.transpose(1, 2).contiguous() for each in part] for part in first[:3]]
    masks: Any = [mask[:, None] for mask in first.masks]
    logits, offsets, features = turned
    if joined:
        given = torch.cat(logits, 2), torch.cat(offsets, 2), features, torch.cat(masks, 2)
    else:
        given = logits, offsets, features, masks  # type: ignore[assignment]
    found = asl_loss()(*given, first.points, first.targets, channels_first=True)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    expected["total"].backward()
    found["total"].backward()
    for ours, theirs in zip(first[:3], last[:3], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.grad, other.grad)


def test_channels_first_of_the_frames() -> None:
    def losses(turned: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        loss = ASLLoss(CLASSES, DIM, signal="evidence", frame_dim=5)
        data, frames = batch(), torch.randn(2, 64, 5)
        if not turned:
            return loss(*data, frames=(frames, data.masks[0]))
        parts = [[each.transpose(1, 2) for each in part] for part in data[:3]]
        return loss(
            *parts,
            *data[3:],
            frames=(frames.transpose(1, 2), data.masks[0][:, None]),
            channels_first=True,
        )

    for one, other in zip(losses(True).values(), losses(False).values(), strict=True):
        torch.testing.assert_close(one, other)


def test_channels_first_names_what_has_no_channels() -> None:
    data = batch()
    turned = [[each.transpose(1, 2) for each in part] for part in data[:3]]
    turned[0][1] = turned[0][1][0]
    with pytest.raises(ValueError, match=r"logits\[1\] with channels_first must be \(B, C, T\), got"):
        asl_loss()(*turned, *data[3:], channels_first=True)


def test_scaled_gradients_are_the_same_once_unscaled() -> None:
    plain, scaled = asl_loss(), asl_loss()
    plain(*batch())["total"].backward()
    optimizer = torch.optim.SGD(scaled.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    scaler.scale(scaled(*batch())["total"]).backward()
    scaler.unscale_(optimizer)
    for ours, theirs in zip(scaled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_an_overflow_costs_one_step_alone() -> None:
    loss = asl_loss()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    # float32 holds no number of this size times the gradient.
    scaler = torch.amp.GradScaler("cpu", init_scale=3e38, growth_interval=1000)
    before = [parameter.detach().clone() for parameter in loss.parameters()]
    scaler.scale(1e6 * loss(*batch())["total"]).backward()
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(ours, was) for ours, was in zip(loss.parameters(), before, strict=True))
    assert scaler.get_scale() == pytest.approx(1.5e38)
    optimizer.zero_grad()
    loss(*batch())["total"].backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in loss.parameters())  # type: ignore[union-attr]


def sorted_by_name(model: nn.Module) -> tuple[set[str], set[str]]:
    """Sort parameters as the optimisers of ActionFormer and OpenTAD do: by kind of module and the ends of names."""
    decay, no_decay = set(), set()
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            if name.endswith("bias") or (name.endswith("weight") and isinstance(module, nn.LayerNorm)):
                no_decay.add(f"{prefix}.{name}")
            elif name.endswith("weight") and isinstance(module, (nn.Linear, nn.Conv1d)):
                decay.add(f"{prefix}.{name}")
    return decay, no_decay


@pytest.mark.parametrize(
    "options", [{}, {"signal": "evidence", "frame_dim": 5}, PLAIN], ids=["asl", "evidence", "plain"]
)
def test_optimizers_that_sort_by_names_find_every_parameter(options: dict[str, Any]) -> None:
    model = nn.ModuleDict({"head": nn.Linear(3, 2), "asl": ASLLoss(CLASSES, DIM, **options)})
    decay, no_decay = sorted_by_name(model)
    assert not decay & no_decay
    assert decay | no_decay == dict(model.named_parameters()).keys()
    gaussians = {name for name in no_decay if "gaussians" in name}
    assert gaussians == ({"asl.gaussians.mu_bias", "asl.gaussians.sigma_bias"} if options != PLAIN else set())


def test_weights_under_their_former_names_are_loaded() -> None:
    loss, other = asl_loss(), ASLLoss(CLASSES, DIM)
    former = {name.replace("mu_bias", "raw_mu"): weight for name, weight in loss.state_dict().items()}
    former = {name.replace("sigma_bias", "raw_sigma"): weight for name, weight in former.items()}
    assert {"gaussians.raw_mu", "gaussians.raw_sigma"} <= former.keys()
    other.load_state_dict(former)
    for ours, theirs in zip(other.state_dict().values(), loss.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert with_present_names(former).keys() == loss.state_dict().keys()
    assert "gaussians.raw_mu" in former  # what was given is left alone
    with pytest.raises(RuntimeError, match=r"gaussians\.odd"):
        other.load_state_dict({**former, "gaussians.odd": torch.zeros(1)})
