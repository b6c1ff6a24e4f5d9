# SPDX-License-Identifier: Apache-2.0
"""A trained detector on new recordings."""
