# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of whole jobs: losses, training steps, loading and evaluation."""
