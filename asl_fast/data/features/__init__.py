# SPDX-License-Identifier: Apache-2.0
"""Feature vectors: where they are stored, how they lie in time, and whether they fit the annotations."""
