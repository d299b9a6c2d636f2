"""Imports go one way: each package knows of those before it, and of none after it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: The stages, in the order in which data goes through them.
STAGES = (
    "_version", "base", "etcd", "media", "spec", "cluster", "pki", "store", "documents",
    "targets", "build", "judge", "live", "day2", "lab", "cli", "__main__",
)  # fmt: skip
FACE = "imagegen"
#: Modules in the longest chain of imports, as measured.
LONGEST = 21


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in (ROOT / FACE).rglob("*.py")}


def imported_by(source: str) -> Iterator[str]:
    """Every module of ours that this text imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in SOURCES)
        elif isinstance(node, ast.ImportFrom) and (node.level or node.module is None):
            raise AssertionError("a relative import hides which package it is of")
        elif isinstance(node, ast.ImportFrom) and node.module in SOURCES:
            if node.module == FACE:
                yield FACE
                continue
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in SOURCES else str(node.module)


IMPORTS = {
    name: set(imported_by(path.read_text(encoding="utf-8"))) - {name}
    for name, path in SOURCES.items()
}
#: All but the public face, which imports whatever it shows.
INSIDE = sorted(SOURCES.keys() - {FACE})


def stage_of(module: str) -> int:
    return STAGES.index(module.split(".")[1])


def test_a_module_imports_nothing_of_a_later_stage():
    """Whether at its top, in a function, or for its types alone."""
    wrong = [
        f"{module} imports {other}"
        for module in INSIDE
        for other in sorted(IMPORTS[module] - {FACE})
        if stage_of(other) > stage_of(module)
    ]
    assert not wrong


def test_nothing_inside_imports_the_public_face():
    """It would import the face's whole promise, and hide what is really used."""
    assert not [module for module in INSIDE if FACE in IMPORTS[module]]


def test_packages_show_nothing_of_their_modules():
    """What a name is for is read where it lives; importing one module imports no other."""
    for name, path in SOURCES.items():
        if path.name == "__init__.py" and name not in (FACE, "imagegen.targets"):
            assert not IMPORTS[name], name


def chains() -> dict[str, tuple[str, ...]]:
    """For each module the most modules that stand one behind the other, itself first.

    CycleError, with its modules, where one imports itself by way of others.
    """
    longest: dict[str, tuple[str, ...]] = {}
    for module in TopologicalSorter(
        {name: IMPORTS[name] - {FACE} for name in INSIDE}
    ).static_order():
        behind = (longest[other] for other in sorted(IMPORTS[module] - {FACE}))
        longest[module] = (module, *max(behind, key=len, default=()))
    return longest


def test_no_module_imports_itself_and_no_chain_has_grown():
    """A change to the last module of a chain can break each of those before it.

    The goal is a chain of 12. Whoever shortens the longest one lowers LONGEST.
    """
    chain = max(chains().values(), key=len)
    assert len(chain) <= LONGEST, " -> ".join(chain)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from imagegen.spec.model import Spec", {"imagegen.spec.model"}),
        ("from imagegen.documents import guest", {"imagegen.documents.guest"}),
        ("import imagegen.spec.model", {"imagegen.spec.model"}),
        ("from imagegen import parse_spec", {"imagegen"}),
        ("def late():\n    from imagegen.spec.model import Spec", {"imagegen.spec.model"}),
        ("if TYPE_CHECKING:\n    from imagegen.spec.model import Spec", {"imagegen.spec.model"}),
        ("from pathlib import Path", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source, found):
    """The tests above are blind where this one is."""
    assert set(imported_by(source)) == found
