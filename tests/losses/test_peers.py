# SPDX-License-Identifier: Apache-2.0
"""One batch on three processes, one of which has no video of it, gives the losses and gradients of one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asl_fast.losses.peers import find_peers
from asl_fast.reference._detection_loss_totals import Sums, conclude, sums_behind
from tests.torchrun import torchrun

WORKER = """
import itertools
import torch
import torch.distributed as dist
from asl_fast.losses.peers import Peers
from asl_fast.ops.ragged import RaggedTargets
from tests.losses.scene import CLASSES, DIM, PLAIN, Batch, asl_loss, batch

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()


def own_share(whole):
    # One video on each of the first two processes; the last has a video of which nothing counts.
    video = rank if rank < 2 else 0
    levels = [[level[video : video + 1].detach().clone() for level in group] for group in whole[:4]]
    if rank == 2:
        levels[3] = [torch.zeros_like(mask) for mask in levels[3]]
    for tensor in itertools.chain(*levels[:3]):
        tensor.requires_grad_()
    bounds = whole.targets.video_offsets.tolist()
    begin, end = bounds[video], bounds[video + 1] if rank < 2 else bounds[video]
    targets = RaggedTargets(
        whole.targets.segments[begin:end], whole.targets.labels[begin:end], torch.tensor([0, end - begin])
    )
    return Batch(*levels, whole.points, targets), video


OPTIONS = {
    "everything": {},
    "paper": {"normalization": "none", "center_sampling_radius": None, "detach_quality_features": False},
    "actionformer": PLAIN,
    "automatic": {"location_weight": "auto", "branches": ("loc",)},
    "constant": PLAIN | {"constant_weights": (1.5, 2.3), "label_smoothing": 0.1},
    "likelihood": {"signal": "likelihood"},
    "evidence": {"signal": "evidence", "frame_dim": 5},
    "levels": {"contrastive_levels": "all", "contrastive_positives": "each", "contrastive_memory": 7},
    "momentum": {"init_loss_norm": 3.0, "loss_norm_momentum": 0.5},
}
for name, options in OPTIONS.items():
    together, apart = asl_loss(pool_processes=False, **options).double(), asl_loss(**options).double()
    for step in range(2):
        whole = batch(step, dtype=torch.float64, grad=True)
        share, video = own_share(whole)
        frames = torch.randn(2, 64, 5, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        mask = torch.arange(64) < torch.tensor([[64], [45]])
        expected = together(*whole, frames=(frames, mask))
        own_mask = mask[video : video + 1] & (rank < 2)
        found = apart(*share, frames=(frames[video : video + 1], own_mask))
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12, msg=lambda m: f"{name} {key}: {m}")
        torch.testing.assert_close(apart.loss_normalizer, together.loss_normalizer)
        for loss, value in ((together, expected), (apart, found)):
            loss.zero_grad()
            value["total"].backward()
        for (key, wanted), parameter in zip(together.named_parameters(), apart.parameters(), strict=True):
            if wanted.grad is None:
                assert parameter.grad is None, (name, key)
                continue
            averaged = parameter.grad.clone()
            dist.all_reduce(averaged)
            torch.testing.assert_close(
                averaged / size, wanted.grad, rtol=1e-7, atol=1e-10, msg=lambda m: f"{name} {key}: {m}"
            )
        for group in range(3):
            for wanted, leaf in zip(whole[group], share[group], strict=True):
                if wanted.grad is None:
                    assert leaf.grad is None
                    continue
                reference = wanted.grad[video : video + 1] * size if rank < 2 else torch.zeros_like(leaf)
                torch.testing.assert_close(
                    leaf.grad, reference, rtol=1e-7, atol=1e-12, msg=lambda m: f"{name} group {group}: {m}"
                )
    if apart.contrast is not None and apart.contrast.memory is not None:
        assert apart.contrast.memory.written == together.contrast.memory.written > 0
    apart.eval()
    if rank == 0:
        # Nobody else takes part in this one.
        apart(*share, frames=(frames[:1], mask[:1]))

# In bfloat16, as under autocast, and from a detector's float32.
for dtype in (torch.bfloat16, torch.float32):
    whole = batch(0, dtype=dtype, grad=True)
    share, video = own_share(whole)
    expected, found = asl_loss(pool_processes=False)(*whole), asl_loss()(*share)
    torch.testing.assert_close(found["total"], expected["total"], rtol=1e-5, atol=1e-6)
    found["total"].backward()
    assert share.logits[0].grad.dtype == dtype

peers = Peers()
rows = torch.full((rank, 2), float(rank), dtype=torch.float64, requires_grad=True)
everything = peers.gathered(rows)
assert everything[:, 0].tolist() == [1.0, 2.0, 2.0]
(everything * torch.tensor([[1.0], [2.0], [3.0]])).sum().backward()
assert rows.grad[:, 0].tolist() == [[], [3.0], [6.0, 9.0]][rank]
assert peers.counts(rank * 10, torch.device("cpu")) == [0, 10, 20]
assert peers.gathered(rows[:0].detach()).shape == (0, 2)
print("as one process", flush=True)
dist.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_one_batch_on_three_processes(tmp_path: Path) -> None:
    done = torchrun(WORKER, tmp_path / "worker.py", processes=3)
    assert done.stdout.count("as one process") == 3


def test_alone() -> None:
    assert find_peers() is None


@pytest.mark.parametrize("by_mean", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_sums_are_found_again_from_the_losses(by_mean: bool, count: int) -> None:
    drawn = torch.rand(len(Sums._fields), dtype=torch.float64, generator=torch.Generator().manual_seed(count)) + 0.5
    sums = Sums(*drawn.unbind())._replace(positives=torch.tensor(float(count), dtype=torch.float64))
    if not count:
        nothing = torch.zeros((), dtype=torch.float64)
        sums = sums._replace(weight_cls=nothing, weight_loc=nothing, scaled_cls=nothing, loc=nothing, error=nothing)
    if not by_mean:
        sums = sums._replace(scaled_cls=torch.zeros((), dtype=torch.float64))
    flags = {"cls_by_mean": by_mean, "loc_by_mean": by_mean}
    one = torch.ones((), dtype=torch.float64)
    totals = conclude(sums, one, momentum=1.0, location_weight=1.0, **flags)
    again = sums_behind(totals.cls, totals.loc, totals.sensitivity, sums.positives, totals.factors, **flags)
    if not by_mean:
        sums = sums._replace(weight_cls=again.weight_cls, weight_loc=again.weight_loc)  # nobody reads them
    torch.testing.assert_close(torch.stack(again), torch.stack(sums))
