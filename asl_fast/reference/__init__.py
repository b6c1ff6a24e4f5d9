# SPDX-License-Identifier: Apache-2.0
"""Every op in plain PyTorch, correct in float64, to be read beside the papers."""
