# SPDX-License-Identifier: Apache-2.0
"""What ``make docs`` adds to the pages under docs: figures, tables and pages that are made from code and results."""
