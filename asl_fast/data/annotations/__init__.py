# SPDX-License-Identifier: Apache-2.0
"""Videos with labelled segments, and one reader for each format of annotation files; needs no torch."""
