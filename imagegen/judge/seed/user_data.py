"""user-data and vendor-data: what cloud-init takes each part for, and what it would do."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any

from imagegen.judge.seed.document import (
    DECODED_LIMIT,
    GZIP,
    check_line_ends,
    document_text,
    gunzip,
    load_mapping,
)
from imagegen.judge.seed.findings import Findings, shown
from imagegen.judge.seed.limited_yaml import YamlDocument, items
from imagegen.judge.seed.report import UserData, WrittenFile
from imagegen.judge.seed.write_files import PRIVATE_KEY, encoding_of, written_file

_PART_LIMIT = 64
_BOUNDARY_LIMIT = 8
# How a part may begin, and as what: cloud-init takes the longest that fits.
_HEADERS = {
    b"#cloud-config-archive": "text/cloud-config-archive",
    b"#cloud-config-jsonp": "text/cloud-config-jsonp",
    b"## template: jinja": "text/jinja2",
    b"#cloud-boothook": "text/cloud-boothook",
    b"#include-once": "text/x-include-once-url",
    b"#cloud-config": "text/cloud-config",
    b"#part-handler": "text/part-handler",
    b"#include": "text/x-include-url",
    b"#!": "text/x-shellscript",
}
_KINDS = {
    "text/cloud-config-archive": "cloud-config archive",
    "text/cloud-config-jsonp": "cloud-config patch",
    "text/jinja2": "jinja template",
    "text/cloud-boothook": "boot hook",
    "text/x-include-once-url": "include",
    "text/cloud-config": "cloud-config",
    "text/part-handler": "part handler",
    "text/x-include-url": "include",
    "text/x-shellscript": "script",
    "text/x-shellscript-per-boot": "script",
    "text/x-shellscript-per-instance": "script",
    "text/x-shellscript-per-once": "script",
}
# What cloud-init does not take a part's word for: here it looks for a header.
_NO_TYPE = "text/x-not-multipart"
_UNTRUSTED_TYPES = ("text/plain", _NO_TYPE, "text/x-shellscript")


@dataclass(slots=True)
class UserDataReader:
    """A user-data or vendor-data document, as far as it has been read."""

    name: str
    found: Findings
    kind: str = "empty"
    config: dict[Any, Any] = field(default_factory=dict)
    files: tuple[WrittenFile, ...] = ()
    private_keys: int = 0
    decoded: int = 0

    def read(self, content: bytes) -> None:
        """Read a document as NoCloud hands it on: perhaps compressed, perhaps in parts."""
        content = gunzip(content)
        if b"mime-version:" in content[:4096].lower():
            self.kind = "multi-part"
            self._read_parts(content)
        else:
            check_line_ends(self.name, content, self.found)
            self.kind = self._read_part(self.name, content, _NO_TYPE)

    def _read_parts(self, content: bytes) -> None:
        if not document_text(self.name, content, self.found):
            return
        parts = []
        # The parser compares each line with the boundary of every level.
        if content.lower().count(b"boundary") <= _BOUNDARY_LIMIT:
            with suppress(RecursionError):
                parts = list(message_from_bytes(content).walk())
        parts = [part for part in parts if part.get_content_maintype() != "multipart"]
        if not 0 < len(parts) <= _PART_LIMIT:
            self.found.warn(
                self.name, "not examined: too many parts, or none", "put a few parts on one level"
            )
            return
        for number, part in enumerate(parts, start=1):
            payload, content_type = part.get_payload(decode=True), part.get_content_type()
            if not isinstance(payload, bytes):
                continue
            if "gzip" in content_type:
                payload, content_type = gunzip(payload), "text/plain"
            merges = "Merge-Type" in part or "X-Merge-Type" in part
            self._read_part(f"{self.name}[{number}]", payload, content_type, merges=merges)

    def _read_part(
        self, name: str, content: bytes, content_type: str, *, merges: bool = False
    ) -> str:
        """Judge one part and tell its kind."""
        self.decoded += len(content)
        if self.decoded > DECODED_LIMIT:
            self.found.warn(name, "not examined: there is too much before it", "use fewer parts")
            return "not examined"
        self.private_keys += len(PRIVATE_KEY.findall(content))
        if content_type in _UNTRUSTED_TYPES:
            content_type = _sniff(content) or content_type
        kind = _KINDS.get(content_type, "unknown")
        if not content.strip():
            if name == "user-data":
                self.found.warn(name, "empty: cloud-init does nothing", "give a #cloud-config")
            return "empty"
        if kind == "unknown":
            what, hint = _why_ignored(content)
            self.found.error(name, f"{what}: cloud-init ignores it all", hint)
        elif text := document_text(name, content, self.found):
            if kind == "jinja template":
                self._read_template(name, text)
            elif kind == "cloud-config":
                self._read_config(name, text, merges=merges)
        return kind

    def _read_template(self, name: str, text: str) -> None:
        self.found.warn(
            name,
            "a jinja template: cloud-init renders every {{, {% and {# in it, "
            "in the files it writes too",
            "leave out the line ## template: jinja unless you need it",
        )
        # What it renders to, only the machine knows.
        body = text.lstrip().partition("\n")[2]
        if not re.search("{[{%#]", body) and _sniff(body.encode()) == "text/cloud-config":
            self._read_config(name, text, merges=False)

    def _read_config(self, name: str, text: str, *, merges: bool) -> None:
        document = load_mapping(name, text, "cloud-init ignores all of it", self.found)
        if document is None:
            return
        config = document.value
        if "network" in config:
            self.found.warn(
                name,
                "network: in user-data is ignored",
                "move it to network-config",
                document.mark("network"),
            )
        _check_commands(name, document, self.found)
        files = tuple(self._written_files(name, document))
        self.files = (*self.files, *files)
        # Parts are merged key by key; by default a later value replaces an earlier one.
        merges = merges or bool({"merge_how", "merge_type"} & config.keys())
        for key, value in config.items():
            before = self.config.get(key)
            if merges and isinstance(before, list) and isinstance(value, list):
                self.config[key] = [*before, *value]
                continue
            if key in self.config:
                self.found.warn(
                    name,
                    "an earlier part has this key too, and this one replaces it",
                    "use one part, or give this one a Merge-Type",
                    document.mark(key),
                )
                if key == "write_files":
                    self.files = files
            self.config[key] = value

    def _written_files(self, name: str, document: YamlDocument) -> Iterator[WrittenFile]:
        for index, entry in enumerate(items(document.value.get("write_files"))):
            file = written_file(name, document, index, self.found)
            if file:
                self.decoded += file.size
                if encoding_of(entry):
                    # The document's own text did not show them.
                    self.private_keys += file.private_keys
            if self.decoded > DECODED_LIMIT:
                self.found.warn(name, "not all of write_files was examined", "write less")
                return
            if file:
                yield file

    def summary(self) -> UserData:
        """Tell what all parts together configure."""
        config = self.config
        return UserData(
            hostname=shown(config.get("fqdn") or config.get("hostname") or ""),
            packages=tuple(
                shown(package[0] if isinstance(package, list) and package else package)
                for package in items(config.get("packages"))
            ),
            users=tuple(
                shown(user.get("name", "") if isinstance(user, dict) else user)
                for user in items(config.get("users"))
            ),
            files=self.files,
            commands=len(items(config.get("runcmd"))),
            private_keys=self.private_keys,
        )


def _sniff(content: bytes) -> str:
    """Tell a part's content type from its first characters, as cloud-init does."""
    start = content.lstrip()[:64].lower()
    return next((kind for header, kind in _HEADERS.items() if start.startswith(header)), "")


def _why_ignored(content: bytes) -> tuple[str, str]:
    """Explain to a person what a document without a known header probably is."""
    if content.startswith(GZIP):
        return "compressed twice, or damaged", "compress it once or, better, not at all"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16 text", "save it as UTF-8"
    if content.startswith(b"\xef\xbb\xbf"):
        return "a byte order mark comes before the header", "save it as UTF-8 without one"
    first = content.lstrip().partition(b"\n")[0].strip()
    if _looks_like_base64(content):
        return "base64, which NoCloud does not decode", "put the decoded document on the seed"
    if re.match(rb"#\s+cloud-config", first, re.IGNORECASE):
        return "a space within the header #cloud-config", "write #cloud-config"
    if re.match(rb"#+\s*template", first):
        return "a misspelt header", "write exactly ## template: jinja"
    if first.startswith(b"---"):
        return "--- comes before the header", "make #cloud-config the first line"
    if first.startswith(b"#"):
        return "a comment comes before the header", "make #cloud-config the first line"
    return "it has no header", "begin it with the line #cloud-config"


def _looks_like_base64(content: bytes) -> bool:
    try:
        decoded = base64.b64decode(b"".join(content.split()), validate=True)
    except ValueError:
        return False
    return bool(_sniff(decoded)) or decoded.startswith(GZIP) or b"mime-version:" in decoded.lower()


def _check_commands(name: str, document: YamlDocument, found: Findings) -> None:
    for key in ("runcmd", "bootcmd"):
        for index, command in enumerate(items(document.value.get(key))):
            if not isinstance(command, str | list | None):
                found.warn(
                    name,
                    f"{key}[{index}]: neither text nor a list: cloud-init runs nothing of {key}",
                    "quote the command; an unquoted colon makes it a mapping",
                    document.mark(key, index),
                )
