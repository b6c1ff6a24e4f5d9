# SPDX-License-Identifier: Apache-2.0
"""What a GPU that is not here would take for a kernel, counted from its machine code; nothing here is a measurement."""
