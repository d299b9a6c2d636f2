"""Environment files: the text systemd reads with ``EnvironmentFile=``.

People read ``/etc/default/etcd`` too, and some source it in a shell. What is
written here means the same to systemd and to ``/bin/sh``, which agree on less
than they seem to. See systemd.exec(5), ``EnvironmentFile=``.
"""

from __future__ import annotations

import re

# Nothing here starts a comment, a quotation or an expansion, as a tilde does in
# the shell alone. Brackets match no files in an assignment.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./\[\]-]+")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Any number of quoted parts may precede an unquoted rest; the end of the file
# ends them all.
_SINGLE = r"'(?P<single>[^']*)(?:'|\Z)"
_DOUBLE = r'"(?P<double>(?:[^"\\]|\\.)*)(?:"|\\?\Z)'
_QUOTED = re.compile(f"[ \t]*(?:{_SINGLE}|{_DOUBLE})", re.DOTALL)
_REST = r"[ \t]*(?P<rest>(?:[^\\\n\r]|\\.)*?)(?:\\\Z|[ \t]*(?=[\n\r]|\Z))"
_LINE = re.compile(
    r"[ \t]*(?:"
    r"(?P<comment>[#;][^\n\r]*)"
    rf"|(?P<key>[^=\n\r]+?)[ \t]*=(?P<quoted>(?:{_QUOTED.pattern})*){_REST}"
    r"|[^\n\r]+)",
    re.DOTALL,
)


def quote_env(value: str) -> str:
    """Spell ``value`` as the right-hand side of an assignment.

    Raises ValueError for characters systemd does not take: one of them costs
    the assignment, or the whole file.
    """
    if _PLAIN.fullmatch(value):
        return value
    for char in value:
        if not _is_readable(char):
            raise ValueError(f"an environment file cannot hold the character U+{ord(char):04X}")
    # The shell's 'it'\''s' is no way out of single quotes here: once systemd
    # has seen an unquoted character, it takes further quotes literally.
    if "'" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'["\\$`]', r"\\\g<0>", value) + '"'


def parse_env(text: str) -> dict[str, str]:
    """Read an environment file by systemd's rules, to compare it with what was meant.

    Like systemd, this passes over lines without ``=`` and keys that are no
    variable names, and keeps the last of several assignments.
    """
    values: dict[str, str] = {}
    for line in _LINE.finditer(text):
        if (line["comment"] or "").endswith("\\"):
            # https://github.com/systemd/systemd/issues/27975
            raise ValueError("a comment ends in a backslash: systemd < 254 swallows the next line")
        if line["key"] and _NAME.fullmatch(line["key"]):
            rest = re.sub(r"\\(?:[\n\r]|(.))", r"\1", line["rest"])
            values[line["key"]] = _unquote(line["quoted"]) + rest
    return values


def _unquote(quoted: str) -> str:
    return "".join(
        part["single"] or re.sub(r'\\(?:\n|(["\\$`]))', r"\1", part["double"] or "")
        for part in _QUOTED.finditer(quoted)
    )


def _is_readable(char: str) -> bool:
    """Whether systemd takes the character: no NUL, surrogate, noncharacter or byte order mark."""
    code = ord(char)
    return not (
        code in (0, 0xFEFF)
        or 0xD800 <= code <= 0xDFFF
        or 0xFDD0 <= code <= 0xFDEF
        or code & 0xFFFE == 0xFFFE
    )
