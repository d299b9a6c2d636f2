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
from difflib import get_close_matches
from math import isfinite
from typing import Any, TypeAlias

import yaml

from imagegen.base.problems import Problem, ProblemsError, Severity
from imagegen.spec.yaml import (
    BOOLEAN,
    DEEPEST,
    INTEGER,
    JSON_TAGS,
    MOST_NODES,
    NULL,
    STRING,
    as_loaded,
    constructed,
    shown,
    type_of_tag,
)

Path: TypeAlias = tuple[str | int, ...]


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
        if node.tag not in JSON_TAGS or (node.tag != STRING and ":" in node.value):
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
