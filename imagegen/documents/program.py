"""The first-boot program as members get it: the same program, without its commentary.

Comments and docstrings are a third of it, and user-data has to fit into what
platforms take: 16 KiB on EC2. Lines of code stay as they are, so a traceback's
text can be found in the commented source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from types import CodeType
from typing import TypeAlias

from imagegen.base.problems import ImagegenError

Scope: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

_NOTE = "# Its comments stayed behind, in cloud_init_templates/firstboot.py of imagegen.\n"


# What a comment is, to whoever knows what a string is. A tokenizer would know better,
# at many times the cost; where this errs, the program is not the same to Python.
_STRING_OR_COMMENT = re.compile(
    r"""(?s:\"{3}(?:\\.|.)*?\"{3}|'{3}(?:\\.|.)*?'{3})"""
    r"""|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*'"""
    r"""|[ \t\f]*(?P<comment>\#[^\n]*)"""
)
_PART = re.compile(r"^# part (\w+)\b.*\n((?s:.*?))^# end of part \1\n", re.MULTILINE)


@cache
def without_comments(source: str, *, name: str, parts: frozenset[str] = frozenset()) -> str:
    """``source`` less its comments, docstrings and repeated blank lines.

    What stands between ``# part NAME`` and ``# end of part NAME`` only some
    members need; it goes unless the name is among ``parts``. The file's own
    ``name`` is for messages. The result is the same under every Python that
    runs this. A program that would not be the same to Python, such
    as one with blank lines in a text, comes back as it is.

    Raises:
        ImagegenError: it is no Python.
    """
    source = _PART.sub(lambda part: part[2] if part[1] in parts else "", source)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ImagegenError(
            f"is no Python: {error}",
            where=f"{name}:{line}" if line else name,
            hint="compare it with the shipped one: imagegen templates export DIR",
        ) from None
    # With as many lines as before, so that the tree's numbers hold.
    # Not splitlines: Python counts by line feeds alone.
    bare = _STRING_OR_COMMENT.sub(_less_comment, source).split("\n")
    lines = {
        number: f"{line}\n" if line.strip() or not before.strip() else ""
        for number, (line, before) in enumerate(zip(bare, source.split("\n"), strict=True), 1)
    }
    if source.endswith("\n"):
        del lines[len(bare)]  # not a line, but what split finds behind the last
    for node in _with_docstring(tree):
        first, last = node.body[0].lineno, node.body[0].end_lineno or 0
        for number in range(first, last + 1):
            lines[number] = ""
        if len(node.body) == 1:
            lines[first] = " " * node.body[0].col_offset + "pass\n"
    result = _joined(lines.values())
    try:
        same = _compiled(ast.parse(result)) == _compiled(_without_docstrings(tree))
    except (SyntaxError, ValueError):
        same = False
    return result if same else source


def _less_comment(found: re.Match[str]) -> str:
    interpreter = found.start() == 0 and found[0].startswith("#!")
    return "" if found["comment"] and not interpreter else found[0]


def _scopes(node: ast.AST) -> Iterator[Scope]:
    """The scopes in it, itself included; only statements hold others."""
    if isinstance(node, Scope):
        yield node
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(node, field, ())
        for statement in inner if isinstance(inner, list) else ():
            yield from _scopes(statement)


def _with_docstring(tree: ast.Module) -> Iterator[Scope]:
    """The scopes that begin with a docstring."""
    return (node for node in _scopes(tree) if ast.get_docstring(node, clean=False) is not None)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in list(_with_docstring(tree)):
        node.body = node.body[1:] or [ast.Pass(lineno=1, col_offset=0)]
    return tree


def _compiled(tree: ast.Module) -> CodeType:
    """What Python makes of a program, the places of its lines apart."""
    for node in _scopes(tree):
        if isinstance(node, ast.ClassDef):
            # From Python 3.13 on a class holds the number of its first line.
            places: list[ast.stmt | ast.expr] = [node, *node.decorator_list]
            for place in places:
                place.lineno = 1
    return _placeless(compile(tree, "", "exec", dont_inherit=True))


def _placeless(code: CodeType) -> CodeType:
    constants = (_placeless(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=tuple(constants), co_firstlineno=1, co_linetable=b"")


def _joined(lines: Iterable[str]) -> str:
    """The lines that are left, with no two blank ones in a row."""
    kept: list[str] = []
    for line in lines:
        if line.strip() or (line and kept and kept[-1].strip()):
            kept.append(line)
    if kept and kept[0].startswith("#!"):
        kept.insert(1, _NOTE)
    return "".join(kept)
