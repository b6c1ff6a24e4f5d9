# SPDX-License-Identifier: Apache-2.0
"""Where else a run can write what it measures, beside ``metrics.jsonl``; one callback per file."""
