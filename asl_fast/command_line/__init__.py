# SPDX-License-Identifier: Apache-2.0
"""What every command shares: how it is called, how its words are read, how its errors become one line."""
