"""Kinds of settings: read one from a YAML node, describe it as JSON Schema.

A setting is declared once, as a dataclass field with a kind and a sentence of
meaning (:func:`imagegen.spec.records.setting`); reading, error messages and
the editor's schema all come from that declaration. Reading works on PyYAML's
nodes, not on loaded values, because a loaded value has lost what a good
message needs: the line and column, what the user typed
(``52:54:00:12:34:56`` loads as a number) and duplicate keys.

pydantic, msgspec and attrs with cattrs were compared first. None keeps places
or spots YAML 1.1's surprises, msgspec stops at the first error, and importing
pydantic alone costs a third of a whole five-member build.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any, Final, Generic, NamedTuple, TypeVar

import yaml

from imagegen.base.problems import Problem, ProblemsError
from imagegen.spec.draft import Draft, Path, PathProblem
from imagegen.spec.yaml import (
    BOOLEAN,
    DEEPEST,
    INTEGER,
    JSON_TAGS,
    MOST_NODES,
    NULL,
    STRING,
    TYPE_OF_TAG,
    as_loaded,
    constructed,
    shown,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Key_co = TypeVar("Key_co", covariant=True)


class Unread(Enum):
    """What a kind returns in place of a value that it could not read.

    None will not do: it is a value of an optional setting, and of YAML.
    """

    UNREAD = "unread"


UNREAD: Final = Unread.UNREAD


def dotted(path: Path) -> str:
    """``("members", 2, "address")`` as ``members[2].address``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Reader:
    """Reads one file into a :class:`Draft`, and notes where each problem stands."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.draft = Draft()
        self._nodes_read = 0
        self._found: list[tuple[int, int, Problem]] = []

    @property
    def problems(self) -> list[Problem]:
        """What was found, in the order of the file."""
        return [problem for _, _, problem in sorted(self._found, key=lambda found: found[:2])]

    def read(self, kind: Kind[T], node: yaml.Node, path: Path) -> T | Unread:
        """The value of ``node``, which stands at ``path``; it joins the draft if it is whole.

        Raises:
            ProblemsError: aliases have multiplied the file beyond :data:`MOST_NODES`,
                or an alias stands within what it names.
        """
        self.visit(node, path)
        value = kind.read(node, path, self)
        if value is not UNREAD:
            self.draft.values[path] = value
        return value

    def visit(self, node: yaml.Node, path: Path) -> None:
        """Remember where ``path`` stands.

        Raises:
            ProblemsError: as :meth:`read`.
        """
        self.draft.places[path] = node
        self._nodes_read += 1
        if self._nodes_read > MOST_NODES:
            self.error(path, "the file's aliases expand to too many values", "write them out")
            raise ProblemsError(self.problems)
        if len(path) > DEEPEST:  # the text is not: compose has looked
            self.error(path[:3], "holds an alias of itself", "write out what is meant")
            raise ProblemsError(self.problems)

    def error(self, path: Path, what: str, hint: str = "") -> None:
        """Add an error about the setting at ``path``."""
        self.add(PathProblem(path, what, hint))

    def add(self, found: PathProblem) -> None:
        """Add a problem at its path, or at the nearest thing around it that was read."""
        place = found.path
        while place and place not in self.draft.places:
            place = place[:-1]
        line, column = 0, 0
        if node := self.draft.places.get(place):
            line, column = node.start_mark.line + 1, node.start_mark.column + 1
        problem = Problem(
            where=f"{self.source}:{line}:{column}" if line else self.source,
            what=f"{dotted(found.path)}: {found.what}" if found.path else found.what,
            hint=found.hint,
            severity=found.severity,
        )
        self._found.append((line, column, problem))


class Kind(Generic[T_co]):
    """One kind of setting, and the type of its values."""

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> T_co | Unread:
        """The value of ``node``; UNREAD, with the problem noted, if it is not of this kind."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """This kind as JSON Schema (draft 2020-12)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Parsed(Kind[T_co]):
    """A value written as text; ``parse`` makes it, or raises ValueError with the reason."""

    what: str
    parse: Callable[[str], T_co]
    pattern: str | None = None
    hint: str = ""

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> T_co | Unread:
        """The parsed text."""
        if not isinstance(node, yaml.ScalarNode):
            reader.error(path, f"expected {self.what}, got {shown(node)}", self.hint)
            return UNREAD
        if node.tag != STRING:
            hint = f'quote it: "{shown(node)}"'
            if ":" in node.value and node.tag == INTEGER:
                hint += "; YAML reads bare digits and colons as base 60"
            hint = self.hint if node.tag == NULL else hint
            reader.error(path, f"expected {self.what}, got {as_loaded(node)}", hint)
            return UNREAD
        text = str(node.value)
        if self.pattern and not re.fullmatch(self.pattern, text):
            reader.error(path, f"{shown(node)!r} is not {self.what}", self.hint)
            return UNREAD
        try:
            return self.parse(text)
        except ValueError as error:
            reason = f": {error}" if str(error) else ""
            reader.error(path, f"{shown(node)!r} is not {self.what}{reason}", self.hint)
            return UNREAD

    def schema(self) -> dict[str, Any]:
        """A JSON string."""
        schema = {"type": "string"}
        if self.pattern:
            schema["pattern"] = f"^(?:{self.pattern})$"
        return schema


@dataclass(frozen=True)
class Text(Parsed[str]):
    """Text; ``parse`` may change it, or raise ValueError with the reason."""

    parse: Callable[[str], str] = str


@dataclass(frozen=True)
class Integer(Kind[int]):
    """A whole number between two bounds, both included."""

    least: int = 0
    most: int = 2**63 - 1

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> int | Unread:
        """The number."""
        if not isinstance(node, yaml.ScalarNode) or node.tag != INTEGER:
            got = as_loaded(node) if isinstance(node, yaml.ScalarNode) else shown(node)
            if isinstance(node, yaml.ScalarNode) and node.tag == STRING:
                got = repr(shown(node))
            reader.error(path, f"expected a whole number, got {got}", "write it without quotes")
            return UNREAD
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", node.value):
            reader.error(
                path,
                f"{shown(node)} is read as {as_loaded(node)}",
                "write a plain decimal number: YAML 1.1 takes a leading 0 for octal, "
                "colons for base 60",
            )
            return UNREAD
        value = int(node.value)
        if not self.least <= value <= self.most:
            reader.error(path, f"{value} is not between {self.least} and {self.most}")
            return UNREAD
        return value

    def schema(self) -> dict[str, Any]:
        """A JSON integer."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


class Boolean(Kind[bool]):
    """True or false, in the one spelling every YAML version agrees on."""

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> bool | Unread:
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
            return UNREAD
        reader.error(path, f"expected true or false, got {shown(node)!r}")
        return UNREAD

    def schema(self) -> dict[str, Any]:
        """A JSON boolean."""
        return {"type": "boolean"}


def nearest(word: str, known: Iterable[str]) -> str:
    """Which of the known words may be meant, as a hint; empty if none is near."""
    from difflib import get_close_matches  # slow to import, and only mistakes need it

    close = get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


@dataclass(frozen=True)
class OneOf(Kind[str]):
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> str | Unread:
        """The word."""
        if isinstance(node, yaml.ScalarNode) and node.value in self.words:
            return str(node.value)
        hint = nearest(shown(node), self.words) or f"one of: {', '.join(self.words)}"
        reader.error(path, f"{shown(node)!r} is not known here", hint)
        return UNREAD

    def schema(self) -> dict[str, Any]:
        """A JSON enumeration."""
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class ListOf(Kind[tuple[T_co, ...]], Generic[T_co]):
    """A list of one kind of item, kept as a tuple."""

    item: Kind[T_co]
    at_least: int = 0

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> tuple[T_co, ...] | Unread:
        """The items, if each of them could be read."""
        if not isinstance(node, yaml.SequenceNode):
            hint = f"write [{shown(node)}]" if isinstance(node, yaml.ScalarNode) else ""
            reader.error(path, f"expected a list, got {shown(node)!r}", hint)
            return UNREAD
        if len(node.value) < self.at_least:
            reader.error(path, f"expected at least {self.at_least}, got {len(node.value)}")
            return UNREAD
        read = [
            reader.read(self.item, item, (*path, index)) for index, item in enumerate(node.value)
        ]
        items = tuple(item for item in read if item is not UNREAD)
        return items if len(items) == len(read) else UNREAD

    def schema(self) -> dict[str, Any]:
        """A JSON array."""
        schema: dict[str, Any] = {"type": "array", "items": self.item.schema()}
        if self.at_least:
            schema["minItems"] = self.at_least
        return schema


class Pairs(NamedTuple):
    """The keys of a mapping, each with its value and the path of both."""

    good: list[tuple[str, yaml.Node, Path]]
    whole: bool
    """Each key is a name and stands once."""


def pairs_of(node: yaml.Node, path: Path, reader: Reader) -> Pairs | Unread:
    """The pairs of a mapping; duplicate and odd keys are noted."""
    if not isinstance(node, yaml.MappingNode):
        reader.error(path, f"expected a mapping of settings, got {shown(node)!r}")
        return UNREAD
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
    return Pairs(good=pairs, whole=len(pairs) == len(node.value))


@dataclass(frozen=True)
class MappingOf(Kind[Mapping[Key_co, T_co]], Generic[Key_co, T_co]):
    """A mapping from free names to one kind of value."""

    key: Kind[Key_co]
    value: Kind[T_co]

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> Mapping[Key_co, T_co] | Unread:
        """The mapping, if all of it could be read."""
        pairs = pairs_of(node, path, reader)
        if pairs is UNREAD:
            return UNREAD
        whole = pairs.whole
        result = {}
        for name, value_node, value_path in pairs.good:
            key_node = yaml.ScalarNode(STRING, name, value_node.start_mark)
            key = self.key.read(key_node, value_path, reader)
            reader.visit(value_node, value_path)
            value = self.value.read(value_node, value_path, reader)
            if key is UNREAD or value is UNREAD:
                whole = False
            elif value is not None:  # `key:` with nothing behind it says nothing
                result[key] = reader.draft.values[value_path] = value
        return result if whole else UNREAD

    def schema(self) -> dict[str, Any]:
        """A JSON object with free property names."""
        return {
            "type": "object",
            "propertyNames": self.key.schema(),
            "additionalProperties": self.value.schema(),
        }


class Anything(Kind[Any]):
    """Any value that JSON knows too: for text that imagegen does not judge."""

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> Any:
        """The value as cloud-init will load it; dates and other tags are refused."""
        if isinstance(node, yaml.MappingNode):
            pairs = pairs_of(node, path, reader)
            if pairs is UNREAD:
                return UNREAD
            values = {name: reader.read(self, value, place) for name, value, place in pairs.good}
            return values if pairs.whole and UNREAD not in values.values() else UNREAD
        if isinstance(node, yaml.SequenceNode):
            items = [
                reader.read(self, item, (*path, index)) for index, item in enumerate(node.value)
            ]
            return UNREAD if UNREAD in items else items
        assert isinstance(node, yaml.ScalarNode)  # for mypy: YAML has no fourth kind
        if node.tag not in JSON_TAGS or (node.tag != STRING and ":" in node.value):
            reader.error(path, f"{shown(node)} is read as {as_loaded(node)}", "quote it")
            return UNREAD
        try:
            value = constructed(node)
        except ValueError:
            reader.error(path, f"{shown(node)} is not a {TYPE_OF_TAG.get(node.tag, 'value')}")
            return UNREAD
        # Python neither prints integers of thousands of digits nor do all parsers read them.
        if isinstance(value, int) and value.bit_length() > 64:
            reader.error(path, f"{shown(node)} is a number of more than 64 bits", "quote it")
            return UNREAD
        if isinstance(value, float) and not isfinite(value):
            reader.error(path, f"{shown(node)} is not a number in JSON", "quote it")
            return UNREAD
        return value

    def schema(self) -> dict[str, Any]:
        """Anything at all."""
        return {}
