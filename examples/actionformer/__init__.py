# SPDX-License-Identifier: Apache-2.0
"""ASL in the code of ActionFormer."""
