# SPDX-License-Identifier: Apache-2.0
"""One's own data: annotations and features from which everything else is derived, with reasons."""
