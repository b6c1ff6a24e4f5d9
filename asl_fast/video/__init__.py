# SPDX-License-Identifier: Apache-2.0
"""Video files: their frames, windows of them, and the feature vectors that a backbone makes of these."""
