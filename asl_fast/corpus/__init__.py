# SPDX-License-Identifier: Apache-2.0
"""Detection in whole corpora of videos, on one machine or many."""
