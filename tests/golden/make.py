# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of this folder by running ActionFormer: ``python -m tests.golden.make CHECKOUT``.

CHECKOUT is a clone of https://github.com/happyharrycn/actionformer_release at the commit that README.md names. Models
are small and their weights and inputs are rounded, so that the files compress; no number here comes from a data
set. The other files of this folder were packed from larger sets: ``python -m tests.golden.make --pack FILE.npz ...``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["PYTORCH_JIT"] = "0"  # plain autograd: warmed-up TorchScript has other gradients where values tie

import numpy as np
import torch
from torch import Tensor

from benchmarks import actionformer
from tests.shared import GOLDEN, pack

TEST = {
    "pre_nms_thresh": 0.001, "pre_nms_topk": 2000, "iou_threshold": 0.1, "min_score": 0.001, "max_seg_num": 200,
    "nms_method": "soft", "nms_sigma": 0.5, "duration_thresh": 0.05, "multiclass_nms": True, "ext_score_file": None,
    "voting_thresh": 0.7,
}  # fmt: skip
TRAIN = {
    "center_sample": "radius", "center_sample_radius": 1.5, "loss_weight": 1.0, "cls_prior_prob": 0.01,
    "init_loss_norm": 100, "head_empty_cls": [], "dropout": 0.0, "droppath": 0.1, "label_smoothing": 0.0,
}  # fmt: skip
MODEL: dict[str, Any] = {
    "backbone_type": "convTransformer", "fpn_type": "identity", "backbone_arch": [1, 1, 3], "scale_factor": 2,
    "input_dim": 10, "max_seq_len": 64, "max_buffer_len_factor": 6.0, "n_head": 2, "n_mha_win_size": 9,
    "embd_kernel_size": 3, "embd_dim": 8, "embd_with_ln": True, "fpn_dim": 8, "fpn_with_ln": True,
    "fpn_start_level": 0, "head_dim": 8, "regression_range": [[0, 4], [4, 8], [8, 16], [16, 10000]],
    "head_num_layers": 3, "head_kernel_size": 3, "head_with_ln": True, "use_abs_pe": False, "use_rel_pe": False,
    "num_classes": 3, "train_cfg": TRAIN, "test_cfg": TEST,
}  # fmt: skip
# Variant -> what it changes; "eval_T" is the length that the evaluation pads to, where that is not max_seq_len.
VARIANTS: dict[str, dict[str, Any]] = {
    "local9": {},
    "global": {"n_mha_win_size": -1, "max_seq_len": 48},
    "local11": {"n_mha_win_size": 11, "max_seq_len": 80},
    "mixedwin": {"n_mha_win_size": [9, 9, 9, 7], "max_seq_len": 96},
    "fpn": {"fpn_type": "fpn"},
    "relpe": {"use_rel_pe": True},
    "abspe": {"use_abs_pe": True},
    "noln_nodroppath": {
        "embd_with_ln": False, "fpn_with_ln": False, "head_with_ln": False,
        "train_cfg": TRAIN | {"droppath": 0.0, "label_smoothing": 0.1, "loss_weight": -1, "center_sample": "none"},
    },
    "multi_input": {"input_dim": [4, 6], "embd_dim": [3, 5]},
    "convbackbone": {"backbone_type": "conv"},
    "abspe_long": {"use_abs_pe": True, "eval_T": 128},
}  # fmt: skip
POSTPROCESS: dict[str, dict[str, Any]] = {
    "mc_soft": {},
    "agnostic_soft_vote": {"multiclass_nms": False},
    "agnostic_hard_vote": {"multiclass_nms": False, "nms_method": "hard", "iou_threshold": 0.5},
    "mc_hard": {"nms_method": "hard", "iou_threshold": 0.5},
    "none": {"nms_method": "none"},
    "mc_soft_sigma0.9_max50": {"nms_sigma": 0.9, "max_seg_num": 50},
}
GRADIENTS = 700  # numbers of gradients kept in full of each model; of all others, the norm
FOCAL = [
    (0.25, 2.0),
    (0.5, 2.0),
    (0.75, 1.0),
    (-1.0, 2.0),
    (0.25, 0.0),
    (0.25, 1.5),
    (0.25, 0.5),
    (0.0, 3.0),
    (1.0, 2.0),
]
# What the larger sets hold and no test reads.
UNREAD = re.compile(r"reg_targets|(full|padded)_(init|random)__grad_logits|.*__(param|grad)_(mu|sigma).*")
EXTREMES = [50, -50, 20, -20, 88, -88, 104, -104, 0, 1e-4, -1e-4, 12.5, -12.5]


def rounded(x: Tensor, steps: int = 64) -> Tensor:
    """Multiples of ``1 / steps``, whose bytes repeat."""
    return (x * steps).round() / steps


def model(modules: Any, variant: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """Make a small ActionFormer whose norms, biases and scales are far from their initial values."""
    config = MODEL | {key: value for key, value in VARIANTS[variant].items() if key != "eval_T"}
    torch.manual_seed(seed)
    made = modules.meta_archs.PtTransformer(**config)
    factors = {"cls_head.cls_head.conv.weight": 3.0, "reg_head.offset_head.conv.weight": 2.0}
    with torch.no_grad():
        for name, value in made.named_parameters():
            noise = torch.randn_like(value)
            if name == "cls_head.cls_head.conv.bias":
                value.copy_(-3 + 0.8 * noise)
            elif name == "reg_head.offset_head.conv.bias":
                value.copy_(1.2 + 0.1 * noise)
            elif "norm" in name or ".ln" in name:
                value.copy_(1 + 0.3 * noise if name.endswith("weight") else 0.2 * noise)
            elif name.endswith("scale"):
                value.copy_(
                    0.3 + 0.9 * torch.rand_like(value) if "drop_path" in name else 0.7 + 0.8 * torch.rand_like(value)
                )
            elif name.endswith("bias"):
                value.copy_(0.1 * noise)
            elif name.endswith("rel_pe"):
                value.copy_(0.7 * noise)
            else:
                value.mul_(factors.get(name, 1.0))
            value.copy_(rounded(value))
    for module in made.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0  # deterministic in training mode, with the scales kept
    return made, config


def forward(modules: Any, variant: str, seed: int) -> dict[str, np.ndarray]:
    made, config = model(modules, variant, seed)
    length = VARIANTS[variant].get("eval_T", config["max_seq_len"])
    lengths = [length, round(0.55 * length) | 1]
    channels = config["input_dim"] if isinstance(config["input_dim"], int) else sum(config["input_dim"])
    mask = torch.arange(length) < torch.tensor(lengths)[:, None, None]
    feats = rounded(torch.randn(2, channels, length), 16) * mask
    arrays: dict[str, Any] = {"feats": feats, "mask": mask} | {f"state__{k}": v for k, v in made.state_dict().items()}
    made.eval()
    with torch.no_grad():
        features, masks = made.neck(*made.backbone(feats, mask))
        outputs = made.cls_head(features, masks), made.reg_head(features, masks)
    for level, points in enumerate(made.point_generator(features)):
        arrays |= {f"points_{level}": points, f"fpn_mask_{level}": masks[level], f"fpn_feat_{level}": features[level]}
        arrays |= {f"cls_logits_{level}": outputs[0][level].transpose(1, 2)}
        arrays |= {f"offsets_{level}": outputs[1][level].transpose(1, 2)}
    meta: dict[str, Any] = {"variant": variant, "seed": seed, "config": config, "lengths": lengths}
    if "eval_T" not in VARIANTS[variant]:
        meta["train"] = train(made, arrays, lengths)
    return {**{key: np.array(value, order="C") for key, value in arrays.items()}, "meta": np.array(json.dumps(meta))}


def train(made: Any, arrays: dict[str, Any], lengths: list[int]) -> dict[str, Any]:
    """One training pass: adds annotations and gradients to ``arrays`` and returns the losses."""
    made.train()
    videos = []
    for b, length in enumerate(lengths):
        starts = rounded(torch.rand(4) * (length - 12), 8)
        ends = starts + rounded(torch.tensor([2.5, 6.0, 11.0, 0.4 * length]), 8)
        segments, labels = torch.stack((starts, ends), dim=1), torch.randint(0, made.num_classes, (4,))
        arrays |= {f"gt_segments_{b}": segments, f"gt_labels_{b}": labels}
        videos.append({"feats": arrays["feats"][b, :, :length], "segments": segments, "labels": labels})
    positives: list[int] = []
    count = made.losses

    def counted(masks: Any, logits: Any, offsets: Any, classes: Any, targets: Any) -> Any:
        positives.append(int((torch.cat(masks, dim=1) & (torch.stack(classes).sum(-1) > 0)).sum()))
        return count(masks, logits, offsets, classes, targets)

    made.losses = counted
    losses = made(videos)
    losses["final_loss"].backward()
    gradients = {name: value.grad for name, value in made.named_parameters() if value.grad is not None}
    kept = 0
    # A stride through the names reaches every part of the model within the budget.
    for name, gradient in list(gradients.items())[::-1][::3]:
        if kept + gradient.numel() <= GRADIENTS:
            arrays[f"grad__{name}"] = gradient
            kept += gradient.numel()
    return {
        **{key: float(value) for key, value in losses.items()},
        "num_pos": positives[0],
        "loss_normalizer_after": float(made.loss_normalizer),
        "grad_norms": {name: float(f"{float(gradient.norm()):.6g}") for name, gradient in gradients.items()},
    }


def postprocess(modules: Any, case: str) -> dict[str, np.ndarray]:
    made, config = model(modules, "local9", seed=7)
    test = TEST | POSTPROCESS[case]
    for key in ("iou_threshold", "max_seg_num", "nms_method", "multiclass_nms", "nms_sigma"):
        setattr(made, f"test_{key}", test[key])
    length, fps, stride, window = config["max_seq_len"] - 9, 30.0, 4, 16
    video = {"video_id": "v", "feats": rounded(torch.randn(config["input_dim"], length), 16), "fps": fps}
    video |= {
        "duration": round((length * stride + window) / fps * 0.9, 3),
        "feat_stride": stride,
        "feat_num_frames": window,
    }
    seen: list[Any] = []
    inner = made.inference_single_video

    def spied(points: Any, masks: Any, logits: Any, offsets: Any) -> Any:
        result = inner(points, masks, logits, offsets)
        seen.extend((points, masks, logits, offsets, dict(result)))
        return result

    made.inference_single_video = spied
    made.eval()
    with torch.no_grad():
        (final,) = made([video])
    *levels, before = seen
    arrays: dict[str, Any] = {
        f"{name}_{level}": value
        for name, values in zip(("points", "mask", "cls_logits", "offsets"), levels, strict=True)
        for level, value in enumerate(values)
    }
    arrays |= {f"pre_{key}": before[key] for key in ("segments", "scores", "labels")}
    arrays |= {key: final[key] for key in ("segments", "scores", "labels")}
    arrays |= {key: np.array(video[key]) for key in ("fps", "duration", "feat_stride", "feat_num_frames")}
    for key in ("pre_labels", "labels"):
        arrays[key] = arrays[key].to(torch.int16)
    return {
        **{k: np.array(v, order="C") for k, v in arrays.items()},
        "config": np.array(json.dumps({"test_cfg": test})),
    }


def focal(root: Path) -> dict[str, np.ndarray]:
    """``sigmoid_focal_loss`` in float32, and in float64 from its text with ``.double()`` for ``.float()``."""
    text = (root / "libs" / "modeling" / "losses.py").read_text()
    functions = {}
    for name, source in (("f32", text), ("f64", text.replace(".float()", ".double()"))):
        module = ModuleType(name)
        exec(compile(source, name, "exec"), module.__dict__)
        functions[name] = module.sigmoid_focal_loss
    torch.manual_seed(3)
    logits, targets = rounded(3 * torch.randn(6, 20)), (torch.rand(6, 20) < 0.15).float()
    logits[:2, : len(EXTREMES)] = torch.tensor(EXTREMES)
    targets[0], targets[1] = 0.0, 1.0
    arrays: dict[str, Any] = {"logits": logits, "targets": targets, "targets_smooth": targets * 0.9 + 0.1 / 21}
    settings = [(alpha, gamma, "hard") for alpha, gamma in FOCAL] + [(0.25, 2.0, "smooth"), (0.5, 2.0, "smooth")]
    configs = []
    for alpha, gamma, kind in settings:
        key = f"a{alpha}_g{gamma}_{kind}"
        config = {
            "key": key,
            "alpha": alpha,
            "gamma": gamma,
            "targets": "targets" if kind == "hard" else "targets_smooth",
        }
        for name, function in functions.items():
            given = logits.to(torch.float64 if name == "f64" else torch.float32, copy=True).requires_grad_()
            wanted = arrays[config["targets"]].to(given.dtype)
            loss = function(given, wanted, alpha, gamma, "none")
            (gradient,) = torch.autograd.grad(loss.sum(), given)
            arrays |= {f"{key}__loss_{name}": loss.detach(), f"{key}__grad_{name}": gradient}
            for reduction in ("sum", "mean"):
                arrays[f"{key}__{reduction}_{name}"] = function(given, wanted, alpha, gamma, reduction).detach()
            config[f"nan_grad_{name}"] = int(gradient.isnan().sum())
        configs.append(config)
    return {**{key: np.asarray(value) for key, value in arrays.items()}, "configs": np.array(json.dumps(configs))}


def main(arguments: list[str]) -> None:
    """Write every file of this folder that ActionFormer makes, or pack the named ones."""
    if arguments[0] == "--pack":
        for path in map(Path, arguments[1:]):
            with np.load(path) as arrays:
                pack(path.stem, {key: arrays[key] for key in arrays.files if not UNREAD.fullmatch(key)})
        return
    os.environ[actionformer.VARIABLE] = arguments[0]
    torch.set_num_threads(1)
    modules = actionformer.load()
    for seed, variant in enumerate(VARIANTS, start=1):
        pack(f"small_forward_{variant}", forward(modules, variant, seed))
    for case in POSTPROCESS:
        pack(f"small_postprocess_{case}", postprocess(modules, case))
    pack("losses_focal", focal(Path(arguments[0])))
    print(f"{sum(path.stat().st_size for path in GOLDEN.iterdir()):,} bytes in {GOLDEN}")


if __name__ == "__main__":
    main(sys.argv[1:])
