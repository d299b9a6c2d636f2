"""imagegen.documents.program: the same program, without its comments."""

from __future__ import annotations

import ast
import re

import pytest

from imagegen.base.problems import ImagegenError
from imagegen.documents import guest
from imagegen.documents.program import without_comments
from tests.conftest import TEMPLATES
from tests.documents.rendered import documents, files_of


def test_the_first_boot_program_is_the_one_that_is_tested():
    """Executable, and the same to Python as the commented source, docstrings apart."""
    file = files_of(documents("icc-etcd"))[guest.PROGRAM]
    source = (TEMPLATES / "firstboot.py").read_text()
    parts = frozenset(re.findall(r"^# part (\w+)", source, re.MULTILINE))
    whole = without_comments(source, name="firstboot.py", parts=parts)
    assert file["permissions"] == "0755"
    assert file["content"].startswith("#!/usr/bin/python3\n# ")
    assert len(file["content"]) < 0.8 * len(source)
    assert statements(whole) == statements(source)
    assert set(file["content"].splitlines()) <= set(whole.splitlines())
    assert set(file["content"].splitlines()) - {"    pass"} <= {
        line.partition("  #")[0] for line in source.splitlines()
    } | {file["content"].splitlines()[1]}


def statements(source: str) -> str:
    """What Python makes of a source, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
        if isinstance(body, list):
            node.body = [n for n in body if not isinstance(n, ast.Pass)] or [ast.Pass()]
    return ast.dump(tree)


def test_comments_go_and_code_stays():
    """A hash in a string is none; what had only a docstring is still a body."""
    source = (
        '#!/usr/bin/python3\n"""Doc."""\n\n\nx = "# no"  # yes\n# yes\n\n\n\n'
        'class A(Exception):\n    """Doc\n\n    more."""\n\n\n'
        'def f():\n    """Doc."""\n    return f"{x}#"\n'
    )
    bare = without_comments(source, name="p.py")
    assert statements(bare) == statements(source)
    assert "yes" not in bare
    assert "Doc" not in bare
    assert "\n\n\n" not in bare
    space: dict = {}
    exec(bare, space)
    assert space["f"]() == "# no#"
    odd = 'x = """a\n\n\n# b\n"""  # why\n'
    assert without_comments(odd, name="p.py") == odd
    parted = "a = 1\n# part x: why\nb = 2\n# end of part x\nc = 3\n"
    assert without_comments(parted, name="p.py") == "a = 1\nc = 3\n"
    assert without_comments(parted, name="p.py", parts=frozenset({"x"})) == "a = 1\nb = 2\nc = 3\n"
    with pytest.raises(ImagegenError, match="is no Python"):
        without_comments("def f(:\n", name="p.py")
