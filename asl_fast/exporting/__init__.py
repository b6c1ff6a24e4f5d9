# SPDX-License-Identifier: Apache-2.0
"""A trained detector as files that run without this package's training code, or without this package."""
