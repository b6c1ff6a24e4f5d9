# SPDX-License-Identifier: Apache-2.0
"""A setting that was derived from data, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """One line for those who want to know.

    Args:
        what: The setting.
        value: What it was set to, in words.
        why: What in the data says so.
        field: Dotted name of the field of the configuration that an option may set otherwise; "" where none does.
    """

    what: str
    value: str
    why: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.what:<16}  {self.value}: {self.why}"
