# SPDX-License-Identifier: Apache-2.0
"""From a fresh clone to the documentation, looked at in a browser."""
