# SPDX-License-Identifier: Apache-2.0
"""From a fresh clone to results that people look at."""
