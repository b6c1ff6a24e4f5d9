# SPDX-License-Identifier: Apache-2.0
"""asl_fast: fast, trustworthy Action Sensitivity Learning for temporal action localisation."""

__version__ = "0.1.0"
