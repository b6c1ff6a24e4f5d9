# SPDX-License-Identifier: Apache-2.0
"""Measurements of every op and job against what else does the same work."""
