# SPDX-License-Identifier: Apache-2.0
"""From video files to actions, on clips whose actions are known."""
