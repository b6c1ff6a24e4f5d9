# SPDX-License-Identifier: Apache-2.0
"""Text, JSON and CSV files: read with errors that name the file, written whole or not at all."""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import gc
import gzip
import io
import json
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

MAX_UNPACKED = "ASL_FAST_MAX_UNPACKED_MB"
"""Environment variable: see `check_unpacked`."""
_MOST_RATIO = 20
_MOST_LINKS = 40


class TooLarge(ValueError):
    """Content would take far more memory than its file explains."""


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the place of ``path`` once it is complete and on disk.

    A crash, a full disk or Ctrl-C leaves what ``path`` held before. Of a symbolic link the target is written; the link
    stays.

    Raises:
        OSError: Of the kind that the system gave, naming ``path``, when it cannot be written; for a folder and a
            device, whose place a file must not take.
    """
    path = Path(path)
    if not path.name:
        raise IsADirectoryError(f"cannot write {path}: it is a folder; name a file in it")
    if is_stream(path):
        raise OSError(f"cannot write {path}: it is a device or pipe, not a file")
    path = path.resolve() if path.is_symlink() else path
    # The process id keeps two programs that write the same file from writing into one another's half.
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        kept = "; what it held before is intact" if path.exists() else ""
        raise type(error)(f"cannot write {path}: {error.strerror or error}{kept}{remedy(error)}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe, or one such as /dev/stdout that stands for what a process has open."""
    if path.exists() and not path.is_file() and not path.is_dir():
        return True
    for _ in range(_MOST_LINKS):
        # What a process has open lies in /proc, and links lead there.
        if path.parent.resolve().parts[:2] == ("/", "proc"):
            return True
        if not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
    return False


def remedy(error: OSError) -> str:
    """Say, after a semicolon, what to do about a file that cannot be written; nothing where the cause says it."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return "; free some space or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose a folder that can be written"
    return ""


def _sync_folder(path: Path) -> None:
    # Without it the new name itself may be lost with the machine's power.
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_file(path: str | Path) -> None:
    """Make sure that a path is a regular file, which can be read to its end: no pipe, device or folder.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is something else.
        OSError: When the system does not say.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        link = "is a link to a file that" if os.path.islink(path) else ""
        raise FileNotFoundError(f"{path} {link} does not exist".replace("  ", " ")) from None
    except ValueError as error:  # a name with a NUL
        raise ValueError(f"{path!r}: no file can have this name ({error})") from None
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "device or socket"
        raise ValueError(f"{path} cannot be read: it is a {kind}, not a file")


def check_unpacked(unpacked: int, stored: int, what: str) -> None:
    """Refuse content that takes far more memory than is stored of it, before any is taken.

    As much as ``ASL_FAST_MAX_UNPACKED_MB`` says is always allowed, 256 unless it is set, and so is 20 times what is
    stored: no compression of features or annotations reaches that.

    Args:
        unpacked: Bytes in memory.
        stored: Bytes on disk.
        what: The content, for the message.

    Raises:
        TooLarge: When it is more.
    """
    given = os.environ.get(MAX_UNPACKED, "256")
    try:
        allowed = float(given) * 2**20
    except ValueError:
        raise ValueError(f"{MAX_UNPACKED} must be a number of megabytes, found {given!r}") from None
    if not unpacked <= max(allowed, _MOST_RATIO * stored):
        needed = -(-unpacked // 2**20)
        raise TooLarge(
            f"{what} would take {needed} MB unpacked, and {stored} bytes are stored of it; if that is right, set "
            f"{MAX_UNPACKED}={needed}"
        )


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file atomically.

    Raises:
        OSError: As `atomic_write`.
    """
    data = text.encode()
    with atomic_write(path) as file:
        file.write(data)


def write_json(path: str | Path, value: Any, *, indent: int | None = None) -> None:
    """Write a JSON file atomically.

    Args:
        path: The file.
        value: Its content.
        indent: Spaces by which nested values are indented, for files that people read; None writes one line.

    Raises:
        OSError: As `atomic_write`.
        ValueError: For a number that JSON does not have (NaN, infinity).
    """
    write_text(path, json.dumps(value, allow_nan=False, indent=indent) + "\n")


def read_text(path: str | Path) -> str:
    """Read a UTF-8 file, with or without a byte-order mark; ``.gz`` is unpacked.

    Raises:
        FileNotFoundError: When it is not there.
        ValueError: When it is damaged or not text.
    """
    path = Path(path)
    require_file(path)
    try:
        data = _gunzipped(path) if path.suffix == ".gz" else path.read_bytes()
        for beginning, what in _NO_TEXT.items():
            if data.startswith(beginning):
                raise ValueError(f"{path} cannot be read as UTF-8, it is {what}")
        return data.decode("utf-8-sig")
    except PermissionError as error:
        raise PermissionError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} cannot be read as UTF-8 ({error}, line {line}); download it again, or save it as UTF-8"
        ) from error
    except (EOFError, zlib.error, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again") from error


_NO_TEXT = {
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16; save it as UTF-8"),
    b"\x1f\x8b": "compressed by gzip; let its name end in .gz",
    b"PK\x03\x04": "an archive, as spreadsheets are; save the table as .csv",
    b"\x93NUMPY": "a NumPy array",
    b"\x80": "a pickle; pickles can run any code and are not read",
    b"\x89HDF": "an HDF5 file",
}
"""What files of other kinds begin with."""


def _gunzipped(path: Path) -> bytes:
    stored, parts, size = path.stat().st_size, [], 0
    with gzip.open(path) as file:
        while part := file.read(2**22):
            parts.append(part)
            size += len(part)
            check_unpacked(size, stored, f"{path}: what is unpacked so far")
    return b"".join(parts)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's search for circles of garbage, for code that makes millions of objects and no circle.

    The search begins anew with every few hundred objects, and takes twice as long as reading a large file does.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: When it is not there.
        ValueError: When it is truncated, or names a key twice in one object (JSON would keep the last silently); when
            it is nested beyond all reason, or holds a number or text that cannot be written again.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"{path}: key {twice!r} occurs twice in one object; remove one of them")
        return entries

    text = read_text(path)
    try:
        with collector_paused():
            content = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{path}: not valid JSON at {place}: {error.msg}; {_json_hint(path, error)}") from error
    except ValueError as error:
        # Python refuses to convert thousands of digits, without saying where they are.
        digits = _LONG_NUMBER.search(text)
        if digits is None or str(path) in str(error):
            raise
        line = text.count("\n", 0, digits.start()) + 1
        raise ValueError(
            f"{path}, line {line}: {digits[0][:20]}... is a number of {len(digits[0])} digits; correct it"
        ) from None
    except RecursionError:
        raise ValueError(f"{path}: lists or objects are nested too deeply, {_nesting(text)}") from None
    if _HALF_PAIR.search(text):
        _require_text(content, str(path))
    return content


def _json_hint(path: str | Path, error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return "a file holds one value; are these JSON lines?"
    named = ".json" in Path(path).suffixes
    return "is the file complete?" if named else "what is not named .csv or .tsv is read as JSON"


_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_LONG_NUMBER = re.compile(r"\d{600,}")


def _nesting(text: str) -> str:
    """Say where text is nested most deeply before it ends; brackets within text count too, so this is a hint."""
    depth = deepest = place = 0
    for match in re.finditer(r"[\[\]{}]", text):
        depth += 1 if match[0] in "[{" else -1
        if depth > deepest:
            deepest, place = depth, match.start()
    line = text.count("\n", 0, place) + 1
    return f"{deepest} times at line {line}, column {place - text.rfind(chr(10), 0, place)}"


def _require_text(content: Any, path: str) -> None:
    """Raise ValueError for text with half of a surrogate pair, which no file and no terminal takes."""
    waiting: list[tuple[Any, str]] = [(content, "")]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, dict):
            waiting += [(key, f"{place}, key {key!r:.80}") for key in value]
            waiting += [(each, f"{place}, {key!r:.80}") for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [(each, f"{place}[{index}]") for index, each in enumerate(value)]
        elif isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{path}{place}: {value!r:.80} is no text ({error.reason}); correct it") from None


def read_csv(path: str | Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header.

    Args:
        path: The file.
        columns: Columns that must be there.

    Raises:
        FileNotFoundError: When it is not there.
        ValueError: When a column is missing, or a row has another number of fields than the header.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        header = list(reader.fieldnames or [])
    except csv.Error as error:
        raise ValueError(f"{path}, line 1: {error}; is it a CSV file?") from None
    missing = [column for column in columns if column not in header]
    if missing:
        raise ValueError(f"{path}: no column {missing[0]!r}; its columns are {', '.join(header) or 'none'}")
    rows: list[dict[str, str]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}, line {reader.line_num}: expected {len(header)} fields as in the header")
            rows.append(row)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num + 1}: {error}; is it a CSV file?") from None
    return rows


def number(value: object, where: str) -> float:
    """Read a number, or text that is one.

    Raises:
        ValueError: Beginning with ``where``, for anything else and for NaN and infinity.
    """
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            if abs(found) < float("inf"):
                return found
    raise ValueError(f"{where}: expected a number, found {value!r:.80}")


def read_named_numbers(path: str | Path, unit: str) -> dict[str, float]:
    """Read a positive number for each name, from JSON or from a table of two columns, with or without a header.

    Args:
        path: The file.
        unit: What the numbers are, for messages.

    Raises:
        FileNotFoundError: When it is not there.
        ValueError: Naming file and entry, for anything else.
    """
    if Path(path).suffix.lower() not in (".csv", ".tsv"):
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f'{path} must be JSON like {{"name": {unit}}}, found {content!r:.80}')
        return {name: _positive(value, unit, f"{path}, {name!r}") for name, value in content.items()}
    found: dict[str, float] = {}
    text = read_text(path)
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        for line, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=separator), start=1):
            where = f"{path}, line {line}"
            if not row or (line == 1 and len(row) == 2 and not re.match(r"\s*([-+.\d]|inf|nan)", row[1])):
                continue  # a header
            if len(row) != 2:
                raise ValueError(f"{where}: expected name{separator}{unit}, found {separator.join(row)!r:.80}")
            if row[0] in found:
                raise ValueError(f"{where}: {row[0]!r} occurs twice")
            found[row[0]] = _positive(row[1], unit, where)
    except csv.Error as error:
        raise ValueError(f"{path}: {error}; is it a CSV file?") from None
    return found


def _positive(value: object, unit: str, where: str) -> float:
    found = number(value, where)
    if found <= 0:
        raise ValueError(f"{where}: {unit} must be positive, found {found:g}")
    return found
