"""The encodings that user-data is carried in."""

from __future__ import annotations

import base64
import gzip
from enum import StrEnum


class Encoding(StrEnum):
    """How a document is written."""

    PLAIN = "plain"
    BASE64 = "base64"
    GZIP = "gzip"
    GZIP_BASE64 = "gzip+base64"


def encoded(data: bytes, encoding: Encoding) -> bytes:
    """``data`` in that encoding; the same bytes each time."""
    if encoding in (Encoding.GZIP, Encoding.GZIP_BASE64):
        data = gzip.compress(data, mtime=0)
        # Byte 9 names the system; until Python 3.13 zlib filled it in, now it is always 255.
        data = data[:9] + b"\xff" + data[10:]
    if encoding in (Encoding.BASE64, Encoding.GZIP_BASE64):
        data = base64.b64encode(data)
    return data
