# SPDX-License-Identifier: Apache-2.0
"""What ``check_data`` finds out about a data set, and how it says so."""
