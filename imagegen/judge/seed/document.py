"""One document of a seed: from its bytes to text, and to a YAML mapping."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO

from imagegen.judge.seed.findings import Findings
from imagegen.judge.seed.limited_yaml import (
    LimitError,
    UnreadableError,
    YamlDocument,
    parse_limited,
)

_DOCUMENT_LIMIT = 4 * 1024 * 1024
#: Of all documents of a seed together, with what they decode to, in bytes.
DECODED_LIMIT = 16 * 1024 * 1024
GZIP = b"\x1f\x8b"


def document_text(name: str, content: bytes, found: Findings) -> str:
    """Decode a document; one that is too large, or is not text, counts as empty."""
    if len(content) > _DOCUMENT_LIMIT:
        found.warn(
            name,
            f"not examined, because it is larger than {_DOCUMENT_LIMIT} bytes",
            "let the machine download large files instead",
        )
        return ""
    try:
        return content.decode()
    except UnicodeDecodeError:
        found.error(name, "not UTF-8 text: cloud-init cannot use it", "save it as UTF-8")
        return ""


def read_mapping(
    files: Mapping[str, bytes], name: str, effect: str, found: Findings
) -> YamlDocument:
    """Read a YAML document; an absent or unreadable one counts as empty."""
    content = files.get(name)
    if content is None:
        return YamlDocument({})
    check_line_ends(name, content, found)
    if content.startswith(b"\xef\xbb\xbf"):
        found.warn(name, "begins with a byte order mark", "save it as UTF-8 without one")
    return load_mapping(name, document_text(name, content, found), effect, found) or YamlDocument(
        {}
    )


def check_line_ends(name: str, content: bytes, found: Findings) -> None:
    """Warn of line ends that cloud-init reads, but that imagegen never writes."""
    start = content[:4096]
    if b"\r\n" in start and b"\0" not in start:  # with a NUL it is not text, and has no lines
        found.warn(
            name,
            "its lines end in CR LF: an editor or git has changed it",
            "save it with the line ends of Unix; for git, say -text in .gitattributes",
        )


def load_mapping(name: str, text: str, effect: str, found: Findings) -> YamlDocument | None:
    """Parse a document; report why it cannot be read, or keys given twice."""
    try:
        document = parse_limited(text)
    except UnreadableError as error:
        found.error(
            name,
            f"not valid YAML: {effect}",
            "look for a tab, a wrong indent, or a value that needs quotes",
            error.mark,
        )
        return None
    except LimitError as error:
        found.warn(name, f"not examined: {error}", "write it more simply")
        return None
    if not isinstance(document.value, dict):
        found.error(
            name, f"not a mapping: {effect}", "write lines of the form key: value", document.mark()
        )
        return None
    for first, second in document.duplicates():
        found.warn(
            name,
            f"the same key as on line {first.line + 1}: the last one wins, silently",
            "give each key once",
            second,
        )
    return document


def gunzip(data: bytes) -> bytes:
    """Decompress, no further than one byte past the limit; return anything else as it is."""
    if data.startswith(GZIP):
        with suppress(OSError, EOFError, zlib.error):
            return gzip.GzipFile(fileobj=BytesIO(data)).read(DECODED_LIMIT + 1)
    return data
