"""The first-boot program as members get it: the same program, without its commentary.

Comments and docstrings are a third of it, and user-data has to fit into what
platforms take: 16 KiB on EC2. Lines of code stay as they are, so a traceback's
text can be found in the commented source.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator
from functools import cache

from imagegen.errors import ImagegenError

_NOTE = "# Its comments stayed behind, in cloud_init_templates/firstboot.py of imagegen.\n"


_PART = re.compile(r"^# part (\w+)\b.*\n((?s:.*?))^# end of part \1\n", re.MULTILINE)


def without_comments(source: str, *, name: str, parts: Collection[str] = ()) -> str:
    """``source`` less its comments, docstrings and repeated blank lines.

    What stands between ``# part NAME`` and ``# end of part NAME`` only some
    members need; it goes unless the name is among ``parts``. The file's own
    ``name`` is for messages. The result is the same under every Python that
    runs this. A program that would not be the same to Python, such
    as one with blank lines in a text, comes back as it is.

    Raises:
        ImagegenError: it is no Python.
    """
    needed = _PART.sub(lambda part: part[2] if part[1] in parts else "", source)
    return _without_comments(needed, name)


@cache
def _without_comments(source: str, name: str) -> str:
    try:
        tree = ast.parse(source)
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ImagegenError(
            f"is no Python: {error}",
            where=f"{name}:{line}" if line else name,
            hint="compare it with the shipped one: imagegen templates export DIR",
        ) from None
    lines = dict(enumerate(source.splitlines(keepends=True), 1))
    for node in _with_docstring(tree):
        first, last = node.body[0].lineno, node.body[0].end_lineno or 0
        for number in range(first, last + 1):
            lines[number] = ""
        if len(node.body) == 1:
            lines[first] = " " * node.body[0].col_offset + "pass\n"
    for token in tokens:
        row, column = token.start
        if token.type == tokenize.COMMENT and not (row == 1 and token.string.startswith("#!")):
            lines[row] = lines[row][:column].rstrip()
            lines[row] += "\n" if lines[row] else ""
    bare = _joined(lines.values())
    return bare if _meaning(ast.parse(bare)) == _meaning(tree) else source


def _with_docstring(
    tree: ast.Module,
) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, scope) and ast.get_docstring(node, clean=False) is not None:
            yield node


def _meaning(tree: ast.Module) -> str:
    """What Python makes of a program, docstrings apart."""
    for node in list(_with_docstring(tree)):
        node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _joined(lines: Iterable[str]) -> str:
    """The lines that are left, with no two blank ones in a row."""
    kept: list[str] = []
    for line in lines:
        if line.strip() or (line and kept and kept[-1].strip()):
            kept.append(line)
    if kept and kept[0].startswith("#!"):
        kept.insert(1, _NOTE)
    return "".join(kept)
