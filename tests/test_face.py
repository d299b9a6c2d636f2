"""The public face: every name it promises is there, and none is paid for before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys

import imagegen
from tests.conftest import ROOT

#: For clusters that run.
VERBS = {
    "status", "renew", "revoke", "rotate_ca", "upgrade", "replace_member", "add_member",
    "remove_member", "save_snapshot", "compare",
}  # fmt: skip


def test_every_name_is_there_and_listed():
    """What a reader of `dir(imagegen)` sees can be imported."""
    assert set(imagegen.__all__) >= VERBS
    assert set(dir(imagegen)) >= set(imagegen.__all__)
    for name in imagegen.__all__:
        assert getattr(imagegen, name).__doc__ or name == "__version__", name


def test_type_checkers_see_the_same_names():
    """They read the imports under TYPE_CHECKING, from the same modules."""
    tree = ast.parse((ROOT / "imagegen/__init__.py").read_text())
    [block] = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (str(node.module).removeprefix("imagegen."), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == imagegen._HOMES
    assert {*seen, "__version__"} == set(imagegen.__all__)


def test_nothing_is_imported_before_it_is_asked_for():
    """A program that only asks for the version waits for no library."""
    program = "import imagegen, sys; dir(imagegen); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"cryptography", "jinja2", "yaml", "typer", "imagegen.build"}


def test_a_name_that_is_not_there_is_an_attribute_error():
    """As of any module; `hasattr` and `from imagegen import x` rely on it."""
    assert not hasattr(imagegen, "no_such_verb")
