# SPDX-License-Identifier: Apache-2.0
"""Whether a graph is being exported, in which lengths are symbols that nothing may be asked of."""

from __future__ import annotations

import torch


def is_exporting() -> bool:
    """Tell whether ``torch.export`` is tracing; never before PyTorch 2.7, which cannot say so."""
    return bool(getattr(torch.compiler, "is_exporting", bool)())
