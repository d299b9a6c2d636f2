"""Rendered text is parsed back and compared with what was meant.

Messages quote no line of a document: it may be one of a private key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from imagegen.base.problems import ImagegenError
from imagegen.spec.yaml import LOADER


def load_rendered(name: str, text: str) -> Any:
    """The YAML that a template renders to.

    Raises:
        ImagegenError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=LOADER) or {}  # noqa: S506  # a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # Not the offending line: it may be one of a private key.
        line = f" in line {mark.line + 1} of its result" if mark else ""
        raise ImagegenError(
            f"does not render to YAML{line}", where=name, hint="pass each value through a filter"
        ) from None


def compare_rendered(name: str, got: Any, meant: Mapping[str, Any]) -> None:
    """Every meant setting is there and equal; a user's template may add others.

    Raises:
        ImagegenError: one is missing or different.
    """
    if not isinstance(got, dict):
        raise ImagegenError("does not render to a mapping", where=name)
    for key, value in meant.items():
        if key not in got:
            raise ImagegenError(
                f"{key} is missing from what it renders to",
                where=name,
                hint="compare it with the shipped one: imagegen templates export DIR",
            )
        if key == "write_files":
            _compare_files(name, got[key], value)
        elif key == "runcmd" and isinstance(got[key], list):
            missing = [command for command in value if command not in got[key]]
            if missing:
                raise ImagegenError(f"runcmd lacks {missing[0]}", where=name)
        elif got[key] != value:
            raise ImagegenError(f"{key} is not what was meant: {got[key]!r}", where=name)


def _compare_files(name: str, got: Any, meant: list[dict[str, str]]) -> None:
    if not isinstance(got, list) or not all(isinstance(file, dict) for file in got):
        raise ImagegenError("write_files is no list of files", where=name)
    places = Counter(str(file.get("path")) for file in got)
    for file in meant:
        # Said without the contents, which may be a private key.
        path = file["path"]
        if file not in got:
            raise ImagegenError(f"write_files: {path} is missing or not what was meant", where=name)
        if places[path] > sum(other["path"] == path for other in meant):
            raise ImagegenError(f"write_files has {path} twice", where=name)


def parse_unit(text: str) -> dict[str, str]:
    """``Section/Key`` to value for a unit without continuation lines; the last one wins."""
    section, settings = "", {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            settings[f"{section}/{key.strip()}"] = value.strip()
    return settings


def parse_hosts(text: str) -> dict[str, None]:
    """Each name with its address; an address may have names from several lines."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return {f"{words[0]} {name}": None for words in lines for name in words[1:]}
