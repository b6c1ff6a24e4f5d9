# SPDX-License-Identifier: Apache-2.0
"""ASL's loss and soft-NMS inside detectors of other projects, which are neither needed nor imported here."""
