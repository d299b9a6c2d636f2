"""YAML nodes with their places, and the limits that hostile YAML meets."""

from __future__ import annotations

from typing import Any, cast

import yaml

from imagegen.base.problems import Problem, ProblemsError

#: What messages call the types that YAML gives to plain text.
TYPE_OF_TAG = {
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

#: The types that JSON knows too.
JSON_TAGS = frozenset({STRING, INTEGER, BOOLEAN, NULL, "tag:yaml.org,2002:float"})

#: Values in one spec, those that aliases repeat included. Aliases let a small file stand
#: for an enormous one; reading one stops here, after a tenth of a second and some 15 MB.
MOST_NODES = 20_000

#: Levels of nesting in any YAML; a spec has five.
DEEPEST = 100

LOADER = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))


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
        raise ValueError from None


def as_loaded(node: yaml.ScalarNode) -> str:
    """What YAML makes of a plain scalar, as in ``the number 41135085296``."""
    kind = TYPE_OF_TAG.get(node.tag, "value")
    if node.tag == NULL:
        return "nothing"
    try:
        value = constructed(node)
        text = str(value).lower() if isinstance(value, bool) else str(value)
    except ValueError:
        text = ""
    return f"the {kind} {text if 0 < len(text) <= 60 else shown(node)}"


def nested_too_deep(text: str | bytes) -> bool:
    """Whether YAML is nested beyond :data:`DEEPEST` levels.

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
        pass  # the caller parses it next, and reports that better
    return False


def compose(text: str, source: str) -> yaml.Node:
    """The YAML node tree of one document.

    Raises:
        ProblemsError: the text is not YAML, or is not a single document.
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
