# SPDX-License-Identifier: Apache-2.0
"""What each benchmark is made of and what it supports."""
