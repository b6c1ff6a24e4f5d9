# SPDX-License-Identifier: Apache-2.0
"""What people look at: the page of a run, or of two beside each other, and the same as pictures for papers."""
