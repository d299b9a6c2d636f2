"""Kinds of settings: read one from a YAML node, describe it as JSON Schema.

A setting is declared once, as a dataclass field with a kind and a sentence of
meaning; reading, error messages and the editor's schema all come from that
declaration. Reading works on PyYAML's nodes, not on loaded values, because a
loaded value has lost what a good message needs: the line and column, what the
user typed (``52:54:00:12:34:56`` loads as a number) and duplicate keys.

pydantic, msgspec and attrs with cattrs were compared first. None keeps places
or spots YAML 1.1's surprises, msgspec stops at the first error, and importing
pydantic alone costs a third of a whole five-member build.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from math import isfinite
from typing import Any, TypeAlias, cast

import yaml

from imagegen.base.problems import Problem, ProblemsError, Severity

type_of_tag = {
    "tag:yaml.org,2002:int": "number",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:bool": "boolean",
    "tag:yaml.org,2002:timestamp": "date",
    "tag:yaml.org,2002:null": "empty value",
    "tag:yaml.org,2002:merge": "merge key",
    "tag:yaml.org,2002:value": "value",
}
STRING = "tag:yaml.org,2002:str"
INTEGER = "tag:yaml.org,2002:int"
BOOLEAN = "tag:yaml.org,2002:bool"
NULL = "tag:yaml.org,2002:null"

_JSON_TAGS = frozenset({STRING, INTEGER, BOOLEAN, NULL, "tag:yaml.org,2002:float"})

# Aliases let a small file stand for an enormous one; no honest spec has as many
# values, and reading stops here, after a tenth of a second and some 15 MB.
MOST_NODES = 20_000

#: Levels of nesting; a spec has five.
DEEPEST = 100

LOADER = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))

Path: TypeAlias = tuple[str | int, ...]
Address: TypeAlias = IPv4Address | IPv6Address
Interface: TypeAlias = IPv4Interface | IPv6Interface
Network: TypeAlias = IPv4Network | IPv6Network


def dotted(path: Path) -> str:
    """``("members", 2, "address")`` as ``members[2].address``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Reader:
    """Where the values of one file stand, and the problems found in it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.nodes_read = 0
        #: Every path that stands in the file, read well or not.
        self.seen: dict[Path, yaml.Node] = {}
        self._found: list[tuple[int, int, Problem]] = []

    @property
    def problems(self) -> list[Problem]:
        """What was found, in the order of the file."""
        return [problem for _, _, problem in sorted(self._found, key=lambda found: found[:2])]

    def visit(self, node: yaml.Node, path: Path) -> None:
        """Remember where ``path`` stands.

        Raises:
            ProblemsError: aliases have multiplied the file beyond :data:`MOST_NODES`,
                or an alias stands within what it names.
        """
        self.seen[path] = node
        self.nodes_read += 1
        if self.nodes_read > MOST_NODES:
            self.error(path, "the file's aliases expand to too many values", "write them out")
            raise ProblemsError(self.problems)
        if len(path) > DEEPEST:  # the text is not: compose has looked
            self.error(path[:3], "holds an alias of itself", "write out what is meant")
            raise ProblemsError(self.problems)

    def error(self, path: Path, what: str, hint: str = "") -> None:
        """Add an error about the setting at ``path``."""
        self.add(path, what, hint, Severity.ERROR)

    def warning(self, path: Path, what: str, hint: str = "") -> None:
        """Add a warning about the setting at ``path``."""
        self.add(path, what, hint, Severity.WARNING)

    def add(self, path: Path, what: str, hint: str, severity: Severity) -> None:
        """Add a problem at ``path``, or at the nearest thing around it that was read."""
        place = path
        while place and place not in self.seen:
            place = place[:-1]
        line, column = 0, 0
        if node := self.seen.get(place):
            line, column = node.start_mark.line + 1, node.start_mark.column + 1
        problem = Problem(
            where=f"{self.source}:{line}:{column}" if line else self.source,
            what=f"{dotted(path)}: {what}" if path else what,
            hint=hint,
            severity=severity,
        )
        self._found.append((line, column, problem))


def shown(node: yaml.Node) -> str:
    """What the user typed, short enough for a message."""
    if not isinstance(node, yaml.ScalarNode):
        return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"
    text = str(node.value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def constructed(node: yaml.ScalarNode) -> Any:
    """The value of a scalar; ValueError if its tag, given or guessed, does not fit its text."""
    try:
        return yaml.SafeLoader("").construct_object(node)
    # For scalars like !!int "" PyYAML's constructors raise IndexError, KeyError and more.
    except Exception:
        raise ValueError(f"no {type_of_tag.get(node.tag, 'value')}") from None


def as_loaded(node: yaml.ScalarNode) -> str:
    """What YAML makes of a plain scalar, as in ``the number 41135085296``."""
    kind = type_of_tag.get(node.tag, "value")
    if node.tag == NULL:
        return "nothing"
    try:
        value = constructed(node)
        text = str(value).lower() if isinstance(value, bool) else str(value)
    except ValueError:
        text = ""
    return f"the {kind} {text if 0 < len(text) <= 60 else shown(node)}"


class Kind:
    """One kind of setting."""

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> Any:
        """The value of ``node``; None, with the problem noted, if it is not of this kind."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """This kind as JSON Schema (draft 2020-12)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Text(Kind):
    """Text; ``parse`` turns it into a value or raises ValueError with the reason."""

    what: str = "text"
    pattern: str | None = None
    hint: str = ""
    parse: Callable[[str], Any] = str
    secret: bool = False

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> Any:
        """The parsed text."""
        if not isinstance(node, yaml.ScalarNode):
            reader.error(path, f"expected {self.what}, got {shown(node)}", self.hint)
            return None
        if node.tag != STRING:
            hint = f'quote it: "{shown(node)}"'
            if ":" in node.value and node.tag == INTEGER:
                hint += "; YAML reads bare digits and colons as base 60"
            hint = self.hint if node.tag == NULL else hint
            reader.error(path, f"expected {self.what}, got {as_loaded(node)}", hint)
            return None
        text = str(node.value)
        value = "a secret" if self.secret else f"{shown(node)!r}"
        if self.pattern and not re.fullmatch(self.pattern, text):
            reader.error(path, f"{value} is not {self.what}", self.hint)
            return None
        try:
            return self.parse(text)
        except ValueError as error:
            reason = "" if self.secret else f": {error}" if str(error) else ""
            reader.error(path, f"{value} is not {self.what}{reason}", self.hint)
            return None

    def schema(self) -> dict[str, Any]:
        """A JSON string."""
        schema = {"type": "string"}
        if self.pattern:
            schema["pattern"] = f"^(?:{self.pattern})$"
        return schema


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number between two bounds, both included."""

    least: int = 0
    most: int = 2**63 - 1

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> int | None:
        """The number."""
        if not isinstance(node, yaml.ScalarNode) or node.tag != INTEGER:
            got = as_loaded(node) if isinstance(node, yaml.ScalarNode) else shown(node)
            if isinstance(node, yaml.ScalarNode) and node.tag == STRING:
                got = repr(shown(node))
            reader.error(path, f"expected a whole number, got {got}", "write it without quotes")
            return None
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", node.value):
            reader.error(
                path,
                f"{shown(node)} is read as {as_loaded(node)}",
                "write a plain decimal number: YAML 1.1 takes a leading 0 for octal, "
                "colons for base 60",
            )
            return None
        value = int(node.value)
        if not self.least <= value <= self.most:
            reader.error(path, f"{value} is not between {self.least} and {self.most}")
            return None
        return value

    def schema(self) -> dict[str, Any]:
        """A JSON integer."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Boolean(Kind):
    """True or false, in the one spelling every YAML version agrees on."""

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> bool | None:
        """The truth value."""
        if isinstance(node, yaml.ScalarNode) and node.tag == BOOLEAN:
            if node.value in ("true", "false"):
                return bool(node.value == "true")
            meant = as_loaded(node).removeprefix("the boolean ")
            reader.error(
                path,
                f"{node.value} is a boolean in YAML 1.1 and text in YAML 1.2",
                f"write {meant}",
            )
            return None
        reader.error(path, f"expected true or false, got {shown(node)!r}")
        return None

    def schema(self) -> dict[str, Any]:
        """A JSON boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class OneOf(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> str | None:
        """The word."""
        if isinstance(node, yaml.ScalarNode) and node.value in self.words:
            return str(node.value)
        close = get_close_matches(shown(node), self.words, n=1)
        hint = f"did you mean {close[0]}?" if close else f"one of: {', '.join(self.words)}"
        reader.error(path, f"{shown(node)!r} is not known here", hint)
        return None

    def schema(self) -> dict[str, Any]:
        """A JSON enumeration."""
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class ListOf(Kind):
    """A list of one kind of item, kept as a tuple."""

    item: Kind
    at_least: int = 0

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> tuple[Any, ...] | None:
        """The items, None for each that could not be read."""
        if not isinstance(node, yaml.SequenceNode):
            hint = f"write [{shown(node)}]" if isinstance(node, yaml.ScalarNode) else ""
            reader.error(path, f"expected a list, got {shown(node)!r}", hint)
            return None
        if len(node.value) < self.at_least:
            reader.error(path, f"expected at least {self.at_least}, got {len(node.value)}")
        items = []
        for index, item in enumerate(node.value):
            reader.visit(item, (*path, index))
            items.append(self.item.read(item, (*path, index), reader))
        return tuple(items)

    def schema(self) -> dict[str, Any]:
        """A JSON array."""
        schema: dict[str, Any] = {"type": "array", "items": self.item.schema()}
        if self.at_least:
            schema["minItems"] = self.at_least
        return schema


def pairs_of(
    node: yaml.Node, path: Path, reader: Reader
) -> Iterable[tuple[str, yaml.Node, Path]] | None:
    """The keys of a mapping with their values; duplicate and odd keys are noted."""
    if not isinstance(node, yaml.MappingNode):
        reader.error(path, f"expected a mapping of settings, got {shown(node)!r}")
        return None
    seen: dict[str, int] = {}
    pairs = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            reader.visit(key, (*path, "?"))
            reader.error((*path, "?"), f"expected a name as key, got {shown(key)}")
            continue
        name = str(key.value)
        reader.visit(key, (*path, name))
        if name in seen:
            reader.error(
                (*path, name),
                f"stands twice, first in line {seen[name]}; YAML would silently take the last",
                "keep one of them",
            )
            continue
        seen[name] = key.start_mark.line + 1
        pairs.append((name, value, (*path, name)))
    return pairs


@dataclass(frozen=True)
class MappingOf(Kind):
    """A mapping from free names to one kind of value."""

    key: Kind
    value: Kind

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> Mapping[str, Any] | None:
        """The mapping, without what could not be read."""
        pairs = pairs_of(node, path, reader)
        if pairs is None:
            return None
        result = {}
        for name, value_node, value_path in pairs:
            key_node = yaml.ScalarNode(STRING, name, value_node.start_mark)
            key = self.key.read(key_node, value_path, reader)
            reader.visit(value_node, value_path)
            value = self.value.read(value_node, value_path, reader)
            if key is not None and value is not None:
                result[key] = value
        return result

    def schema(self) -> dict[str, Any]:
        """A JSON object with free property names."""
        return {
            "type": "object",
            "propertyNames": self.key.schema(),
            "additionalProperties": self.value.schema(),
        }


@dataclass(frozen=True)
class Anything(Kind):
    """Whatever YAML can say in JSON's terms: for a text that is someone else's to judge."""

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> Any:
        """The value as cloud-init will load it; dates and other tags are refused."""
        if isinstance(node, yaml.MappingNode):
            values = {}
            for name, value_node, value_path in pairs_of(node, path, reader) or ():
                reader.visit(value_node, value_path)
                values[name] = self.read(value_node, value_path, reader)
            return values
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                reader.visit(item, (*path, index))
                items.append(self.read(item, (*path, index), reader))
            return items
        assert isinstance(node, yaml.ScalarNode)  # for mypy: YAML has no fourth kind
        if node.tag not in _JSON_TAGS or (node.tag != STRING and ":" in node.value):
            reader.error(path, f"{shown(node)} is read as {as_loaded(node)}", "quote it")
            return None
        try:
            value = constructed(node)
        except ValueError:
            reader.error(path, f"{shown(node)} is no {type_of_tag.get(node.tag, 'value')}")
            return None
        # Python neither prints integers of thousands of digits nor do all parsers read them.
        if isinstance(value, int) and value.bit_length() > 64:
            reader.error(path, f"{shown(node)} is a number of more than 64 bits", "quote it")
            return None
        if isinstance(value, float) and not isfinite(value):
            reader.error(path, f"{shown(node)} is no number in JSON", "quote it")
            return None
        return value

    def schema(self) -> dict[str, Any]:
        """Anything at all."""
        return {}


@dataclass(frozen=True)
class Record(Kind):
    """A mapping whose keys are the fields of a dataclass made with :func:`setting`."""

    cls: type

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> Any:
        """An instance; a field that could not be read is None in it, and noted."""
        pairs = pairs_of(node, path, reader)
        if pairs is None:
            return None
        fields = {f.name: f for f in dataclasses.fields(self.cls) if "kind" in f.metadata}
        values: dict[str, Any] = {}
        for name, value_node, value_path in pairs:
            if name not in fields:
                close = get_close_matches(name, fields, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(fields)}"
                reader.error(value_path, "unknown setting", hint)
                continue
            if value_node.tag == NULL and not fields[name].metadata["required"]:
                continue  # `key:` with nothing behind it leaves the default
            reader.visit(value_node, value_path)
            values[name] = fields[name].metadata["kind"].read(value_node, value_path, reader)
        for name, declared in fields.items():
            if declared.metadata["required"] and name not in values:
                reader.error(path, f"{name} is missing", declared.metadata["doc"])
                values[name] = None
        return self.cls(**values)

    def schema(self) -> dict[str, Any]:
        """A JSON object with these properties and no other."""
        properties = {}
        required = []
        for declared in dataclasses.fields(self.cls):
            if "kind" not in declared.metadata:
                continue
            schema = {"description": declared.metadata["doc"], **declared.metadata["kind"].schema()}
            default = declared.metadata["shown_default"]
            if default is not None:
                schema["default"] = default
            properties[declared.name] = schema
            if declared.metadata["required"]:
                required.append(declared.name)
        return {
            "type": "object",
            "description": (self.cls.__doc__ or "").strip().split("\n\n")[0],
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }


class _Required:
    pass


def setting(kind: Kind, doc: str, *, default: Any = _Required) -> Any:
    """Declare a dataclass field as a setting of a spec.

    ``doc`` is one sentence for people: the schema and "is missing" show it.
    """
    required = default is _Required
    plain = default if isinstance(default, str | int | bool) else None
    metadata = {"kind": kind, "doc": doc, "required": required, "shown_default": plain}
    if required:
        return field(metadata=metadata)
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def nested_too_deep(text: str | bytes) -> bool:
    """Whether YAML is nested beyond sense.

    libyaml's composer recurses in C: some tens of thousands of brackets
    overflow its stack and end the process. Its events come without recursion.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEEPEST:
                return True
    except (yaml.YAMLError, ValueError):
        pass  # whoever parses it in earnest reports that better
    return False


def compose(text: str, source: str) -> yaml.Node:
    """The YAML node tree of one document.

    Raises:
        ProblemsError: the text is no YAML, or no single document.
    """
    if nested_too_deep(text):
        raise ProblemsError(
            [Problem(where=source, what="is nested too deeply", hint="no spec needs that")]
        )
    try:
        node = yaml.compose(text, Loader=LOADER)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        what = getattr(error, "problem", None) or str(error)
        raise ProblemsError(
            [
                Problem(
                    where=where,
                    what=f"not YAML: {what}",
                    hint="tabs and unclosed quotes are the usual causes",
                )
            ]
        ) from None
    if node is None:
        raise ProblemsError([Problem(where=source, what="is empty", hint="see imagegen init")])
    return node


# --- the kinds that are about networks, files and time ---------------------------------

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def _zone_free(text: str) -> str:
    if "%" in text:
        raise ValueError("a zone index means nothing on another machine")
    return text


def parse_address(text: str) -> Address:
    """An address a member can be reached at; ValueError says why it is none."""
    address = ip_address(_zone_free(text))
    if address.is_multicast or address.is_unspecified:
        raise ValueError("that address belongs to no single machine")
    return address


def parse_instant(text: str) -> datetime:
    """RFC 3339 with an offset, as UTC."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("the offset from UTC is missing")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC that is before year 1 or after year 9999") from None


def parse_mac(text: str) -> str:
    """A unicast MAC address in the lower case that cloud-init compares with."""
    mac = text.lower()
    if int(mac[:2], 16) & 1:
        raise ValueError("that is a multicast address")
    return mac


def parse_size(text: str) -> int:
    """Bytes, from digits and one of B, KiB, MiB, GiB."""
    digits = text.rstrip(" BKMGi")
    unit = text[len(digits) :].strip()
    return int(digits) * int(1024 ** ("B", "KiB", "MiB", "GiB").index(unit))


def _parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Like ``parse``, but without ipaddress repeating the value in its reason."""

    def quiet(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            if "does not appear to be" in str(error):
                raise ValueError("") from None
            raise

    return quiet


HOST_LABEL = Text(
    what="a host name",
    pattern=LABEL,
    hint="lower-case letters, digits and '-', at most 63, not '-' at an end (RFC 1123)",
)
DNS_NAME = Text(
    what="a DNS name",
    pattern=rf"(?=.{{1,253}}$)(\*\.)?{LABEL}(\.{LABEL})*",
    hint="labels of lower-case letters, digits and '-' joined by '.' (RFC 1123)",
)
ADDRESS = Text(what="an IP address", parse=_parsed(parse_address), hint="such as 10.240.0.11")
INTERFACE = Text(
    what="an address with its prefix length",
    pattern=r"[^/]+/[0-9]+",
    parse=_parsed(lambda text: ip_interface(_zone_free(text))),
    hint="such as 10.240.0.11/24",
)
NETWORK = Text(
    what="a network",
    parse=_parsed(lambda text: ip_network(_zone_free(text))),
    hint="such as 10.0.0.0/8, host bits zero",
)
MAC = Text(
    what="a MAC address",
    pattern=r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}",
    parse=parse_mac,
    hint='six quoted pairs of hex digits, such as "52:54:00:12:34:56"',
)
INTERFACE_NAME = Text(
    what="a network interface's name", pattern=r"[a-zA-Z0-9_.-]{1,15}", hint="such as ens3"
)
ABSOLUTE_PATH = Text(
    what="an absolute path",
    pattern=r"(/[A-Za-z0-9._@:+-]+)+",
    parse=lambda text: _no_dots(text),
    hint="letters, digits and ._@:+- between slashes, such as /var/lib/etcd",
)
FILE_NAME = Text(
    what="a file name",
    pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}",
    hint="letters, digits and ._- only, such as kubernetes.pem",
)
INSTANT = Text(
    what="a time",
    parse=parse_instant,
    hint='RFC 3339 in quotes, such as "2026-12-01T00:00:00Z"',
)
URL = Text(
    what="a URL",
    pattern=r"https?://[^\s/?#\"']+(/[^\s\"']*)?",
    hint="such as http://mirror.example.org/debian",
)
SIZE = Text(
    what="a size", pattern=r"[0-9]{1,15} ?(B|KiB|MiB|GiB)", parse=parse_size, hint="such as 8GiB"
)
LINE = Text(what="a line of text", pattern=r"[^\x00-\x1f\x7f]+", hint="no line breaks")


def _no_dots(text: str) -> str:
    if {".", ".."} & set(text.split("/")):
        raise ValueError("'.' and '..' are not taken")
    return text
