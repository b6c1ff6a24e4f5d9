# SPDX-License-Identifier: Apache-2.0
"""Names as the formats take them: one line, no character that a format forbids, safe as the name of a file."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

# Control characters and separators of lines and paragraphs; half of a surrogate pair is no character at all.
_BREAKS = frozenset({"Cc", "Zl", "Zp"})
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_IN_FILE_NAMES = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LONGEST_NAME_BYTES = 200


def encodable(text: str) -> str:
    """Replace halves of surrogate pairs, which UTF-8 cannot hold; names of files may have them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def one_line(text: str) -> str:
    """Replace line breaks and control characters by spaces, and runs of spaces by one."""
    spaced = "".join(" " if unicodedata.category(each) in _BREAKS else each for each in encodable(text))
    return " ".join(spaced.split())


def xml_text(text: str) -> str:
    """Replace what no XML file may hold, even escaped, by U+FFFD: most control characters among it."""
    return _NOT_IN_XML.sub("\ufffd", text)


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Give each name a file name without an ending that every system takes, no two alike.

    A name that serves as it is stays. Where something has to be replaced, or two names differ in upper and lower case
    alone, eight digits of the name's SHA-256 are put behind it.

    Args:
        names: Of recordings, each once.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    # Names that stay as they are come first, so that another never takes their place.
    for name in sorted(names, key=lambda each: (_safe(each) != each, each)):
        safe = _safe(name)
        if safe != name or _key(safe) in taken:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            safe = f"{safe}-{digest}"
        taken.add(_key(safe))
        found[name] = safe
    return found


def _safe(name: str) -> str:
    plain = _NOT_IN_FILE_NAMES.sub("_", one_line(name)).strip(" .").lstrip("-")
    plain = plain.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore").rstrip(" .")
    return f"_{plain}" if not plain or _RESERVED.match(plain) else plain


def _key(name: str) -> str:
    # Some file systems tell neither upper from lower case nor the two ways of writing an accent.
    return unicodedata.normalize("NFC", name).casefold()
