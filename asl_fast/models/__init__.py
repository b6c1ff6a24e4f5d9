# SPDX-License-Identifier: Apache-2.0
"""The action detector: ``config`` needs no torch, every other module holds one part of the network."""
