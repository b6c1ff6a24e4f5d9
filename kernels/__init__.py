# SPDX-License-Identifier: Apache-2.0
"""Triton kernels and their launchers, installed as ``asl_fast.kernels``."""
