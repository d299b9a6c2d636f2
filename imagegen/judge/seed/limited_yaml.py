"""YAML of unknown origin, read within limits of size, depth and expansion.

A stranger's seed may be hostile. Messages of a parser quote what it reads, which
may be a key: what goes wrong is told here by its place alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeGuard

import yaml

_EXPANDED_LIMIT = 16 * 1024 * 1024
_NODE_LIMIT = 20_000
_DEPTH_LIMIT = 100
_DIGIT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A parsed document, with the nodes that know where everything stands."""

    value: Any
    root: yaml.Node | None = None
    children: Mapping[int, Mapping[str, yaml.Node]] = field(default_factory=dict)

    def at(self, *path: str | int) -> yaml.Node | None:
        """Find the node a path leads to, or the last one that can be found on the way."""
        node = self.root
        for step in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
                child = node.value[step]
            else:
                child = self.children.get(id(node), {}).get(str(step))
            if child is None:
                break
            node = child
        return node

    def mark(self, *path: str | int) -> yaml.Mark | None:
        """Find the place a path leads to."""
        node = self.at(*path)
        return node.start_mark if node else None

    def duplicates(self) -> Iterator[tuple[yaml.Mark, yaml.Mark]]:
        """Yield the places of keys that one mapping holds twice."""
        for node in _walk(self.root) if self.root else ():
            if not isinstance(node, yaml.MappingNode):
                continue
            first: dict[tuple[str, str], yaml.Mark] = {}
            for key in (key for key, _ in node.value if _is_scalar(key)):
                mark = first.setdefault((key.tag, key.value), key.start_mark)
                if mark is not key.start_mark:
                    yield mark, key.start_mark


class UnreadableError(Exception):
    """A document that is not YAML; it knows the place, and keeps the text to itself."""

    def __init__(self, mark: Any = None) -> None:
        super().__init__()
        self.mark = mark


class LimitError(Exception):
    """A document that may be YAML, but of a kind nobody writes by honest means."""


def parse_limited(text: str) -> YamlDocument:
    """Parse YAML of unknown origin.

    Raises:
        UnreadableError: it is not YAML.
        LimitError: reading it would take too much time or memory.
    """
    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # Events come without recursion. libyaml's composer recurses in C: some
        # tens of thousands of brackets overflow its stack and end the process.
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=loader_class)):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _DEPTH_LIMIT or count > _NODE_LIMIT:
                raise LimitError("nested too deep, or too many values")
        loader = loader_class(text)
        root = loader.get_single_node()
        if root is None:
            return YamlDocument({})
        nodes = list(_walk(root))
        if _expanded_size(root) > _EXPANDED_LIMIT:
            raise LimitError("its aliases (*) expand to too much")
        if any(
            node.tag.endswith((":int", ":float")) and len(node.value) > _DIGIT_LIMIT
            for node in nodes
        ):
            raise LimitError("a number has too many digits")
        value = loader.construct_document(root)
    except LimitError:
        raise
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(error.problem_mark or error.context_mark) from None
    # For scalars like !!int "" PyYAML's constructors raise IndexError, KeyError and more.
    except Exception:
        raise UnreadableError from None
    children = {
        id(node): {key.value: child for key, child in node.value if _is_scalar(key)}
        for node in nodes
        if isinstance(node, yaml.MappingNode)
    }
    return YamlDocument(value, root, children)


def _expanded_size(root: yaml.Node) -> int:
    """Measure a document as if every alias were a copy: aliases of aliases grow like 2**n."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 0  # for an alias within itself
            parts = (len(node.value),) if _is_scalar(node) else map(size, _children(node))
            sizes[id(node)] = 1 + sum(parts)
        return sizes[id(node)]

    return size(root)


def _walk(root: yaml.Node) -> Iterator[yaml.Node]:
    """Yield every node once, in the order of the document."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += reversed(_children(node))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _is_scalar(node: yaml.Node) -> TypeGuard[yaml.ScalarNode]:
    return isinstance(node, yaml.ScalarNode)


def items(value: Any) -> list[Any]:
    """What a list holds; nothing for a value that is not a list."""
    return value if isinstance(value, list) else []


def word(value: Any) -> str:
    """Return a scalar as text, and anything else as none."""
    # Python refuses to print integers of thousands of digits; nobody meant one.
    if isinstance(value, int) and value.bit_length() > 64:
        return ""
    return str(value) if isinstance(value, str | int | float | date) else ""
