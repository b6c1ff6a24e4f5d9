# SPDX-License-Identifier: Apache-2.0
"""Words for messages: counts, examples, what a misspelt name may have meant, text that is safe, warnings said once."""

from __future__ import annotations

import difflib
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence

# Control characters, format characters, surrogates, line and paragraph separators.
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Some scripts need them within words.
_JOINERS = "\u200c\u200d"
_SHOWN = 120
_ENDLESS = re.compile(r"\S{1000,}")
# What was said about which file or folder: one command opens it several times.
_SAID: set[tuple[str, str]] = set()
# What a spreadsheet runs where a cell begins with it, behind apostrophes of `escape_formula` or none.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Say ``1 video``, ``2 videos``, ``3 classes``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def printable(text: str, keep: str = "") -> str:
    r"""Write out what would steer a terminal instead of being shown: ``\x1b`` for an escape character.

    Names in files are anybody's text. Words of a thousand characters are cut. Control characters, marks that reverse
    the direction of writing, line separators and halves of surrogate pairs are written as Python writes them; all other
    text stays.

    Args:
        text: What is to be shown.
        keep: Characters that stay although they are such: ``"\n"`` for text of several lines.
    """
    text = shortened(text)
    if text.isprintable():
        return text
    return "".join(
        each if each in keep or unicodedata.category(each) not in _STEERING or each in _JOINERS else _escaped(each)
        for each in text
    )


def plain(name: str) -> str:
    """Give what two names have in common that look the same: not their case, their blanks or the form of characters."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def shown_apart(one: object, other: object) -> tuple[str, str]:
    """Write two names for a message such that their difference is seen where they look the same."""
    both = repr(one), repr(other)
    alike = isinstance(one, str) and isinstance(other, str) and plain(one) == plain(other)
    return (ascii(one), ascii(other)) if alike else both


def shortened(text: str) -> str:
    """Cut words that no terminal shows in a sensible way: of thousands of characters, from files."""
    return _ENDLESS.sub(lambda word: f"{word[0][:_SHOWN]}... ({len(word[0])} characters)", text)


def escape_formula(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run as a formula: what begins with ``= + - @``, tab or CR.

    Text that begins with apostrophes and then one of these gets one more, so that `unescape_formula` is exact.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_formula(text: str) -> str:
    """Take off the apostrophe that `escape_formula`, or a spreadsheet, has put before text."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def say_once(logger: logging.Logger, where: str, text: str) -> None:
    """Log a warning about a file or folder, once in a process."""
    if (where, text) not in _SAID:
        _SAID.add((where, text))
        logger.warning("%s: %s", printable(where), printable(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def examples(names: Sequence[str], shown: int = 3) -> str:
    """Say ``a, b, c and 4 more``."""
    rest = len(names) - shown
    return ", ".join(map(printable, names[:shown])) + (f" and {rest} more" if rest > 0 else "")


def closest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that is most alike, upper and lower case being one; None where none is much alike."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Say ``did you mean 'x'?`` for the closest known name, or list all names where none is close."""
    known = list(known)
    found = closest(name, known)
    return f"did you mean {found!r}?" if found is not None else f"known are {', '.join(map(printable, known))}"
