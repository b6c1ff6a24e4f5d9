# SPDX-License-Identifier: Apache-2.0
"""What the detector and the losses share: a convolution per device, and all levels of a pyramid in one tensor."""
