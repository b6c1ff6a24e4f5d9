# SPDX-License-Identifier: Apache-2.0
"""Synthetic twins of the benchmarks, with a planted answer."""
