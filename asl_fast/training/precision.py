# SPDX-License-Identifier: Apache-2.0
"""Whether the detector runs in bfloat16."""

from __future__ import annotations

import torch


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether ``precision`` means autocast to bfloat16 on ``device``; "auto" does where the hardware computes in it.

    Elsewhere bfloat16 is emulated, several times slower than float32.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch do not tell.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
