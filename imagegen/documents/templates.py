"""The shipped templates, a user's own in their place, and the filters they use."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from imagegen.base.problems import ImagegenError, Problem, ProblemsError
from imagegen.base.shipped import export, shipped_directory
from imagegen.documents.env_file import quote_env

if TYPE_CHECKING:
    from jinja2 import Environment

#: The folder of the shipped set.
SHIPPED = "cloud_init_templates"
#: Every file of the shipped set; a user's directory may replace any of them.
NAMES = (
    "user-data.yaml.j2",
    "meta-data.yaml.j2",
    "network-config.yaml.j2",
    "etcd.env.j2",
    "etcdctl.env.j2",
    "hosts.j2",
    "etcd.service.j2",
    "etcd-dropin.conf.j2",
    "imagegen-firstboot.service.j2",
    "imagegen-keys.path.j2",
    "data-disk.mount.j2",
    "firstboot.py",
    "apply.sh.j2",
)

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def yaml_scalar(value: object) -> str:
    """A value on one line, so quoted that every YAML version reads the same."""
    if isinstance(value, str) and value.isascii() and value.isprintable():
        return json.dumps(value)
    if isinstance(value, Mapping | list | tuple):
        return _flow(value)
    text = yaml.dump(
        value, Dumper=_DUMPER, default_style='"', default_flow_style=True, width=2**31 - 1
    )
    return str(text).strip() if isinstance(value, str) else _flow(value)


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)}: {yaml_scalar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(yaml_scalar, value)) + "]"
    return json.dumps(value)  # numbers, true, false and null


def _key(value: object) -> str:
    """A mapping's key; a long one must be marked as such (YAML 1.1, 7.3.3, "simple keys")."""
    text = yaml_scalar(value)
    return text if len(text) < 1000 else f"? {text} "


def yaml_text(value: str, indent: int) -> str:
    """Text as a literal block where that is exact, so that people can read it."""
    # The first-boot program, the same for all members. No key is as long, or kept here.
    return (_kept_literal if len(value) > 16_384 else _literal)(value, indent)


def _literal(value: str, indent: int) -> str:
    if not _fits_literal(value):
        return yaml_scalar(value)
    pad = " " * indent
    text = ("\n" + value[:-1]).replace("\n", f"\n{pad}")
    for _ in range(2):  # of two blank lines in a row, the first pass sees one
        text = text.replace(f"\n{pad}\n", "\n\n")
    return f"|{text}"


_kept_literal = lru_cache(maxsize=2)(_literal)


def _fits_literal(value: str) -> bool:
    """Whether a literal block scalar can hold it as it is.

    Printable lines, none with blanks at its end (they would not survive an
    editor) or a tab where the indentation is looked for, and one final newline.
    No regular expression: they took longer for the first-boot program than libyaml.
    """
    return (
        value.isascii()
        and value[:1].strip() != ""
        and value.endswith("\n")
        and not value.endswith("\n\n")
        and value.replace("\n", "").replace("\t", "").isprintable()
        and not any(blank in value for blank in (" \n", "\t\n", "\n\t"))
    )


def yaml_block(value: object) -> str:
    """A whole structure, one setting a line."""
    return str(yaml.dump(value, Dumper=_DUMPER, sort_keys=False, default_flow_style=False)).rstrip(
        "\n"
    )


class Templates:
    """A set of templates; each is compiled once and rendered for every member of every cluster."""

    def __init__(self, directory: Path | None = None) -> None:
        """Use the shipped set, with files of ``directory`` in their place.

        Raises:
            ProblemsError: ``directory`` is none, or holds a file that replaces nothing.
        """
        self._directories = [shipped_directory(SHIPPED)]
        if directory is None:
            return
        if not directory.is_dir():
            raise ImagegenError(
                f"{directory} is no directory",
                hint="make one with: imagegen templates export DIR",
            )
        strangers = sorted(
            path.name
            for path in directory.iterdir()
            if path.name not in (*NAMES, "README.md") and not path.name.startswith(".")
        )
        if strangers:
            raise ProblemsError(
                Problem(
                    where=str(directory / name),
                    what="no template has this name, so it would be ignored",
                    hint=f"templates: {', '.join(NAMES)}",
                )
                for name in strangers
            )
        self._directories.insert(0, directory)

    @cached_property
    def _environment(self) -> Environment:
        found = (path.stat() for path in map(self._path, NAMES) if path)
        return _environment(
            tuple(self._directories),
            tuple((one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for one in found),
        )

    def _path(self, name: str) -> Path | None:
        paths = (directory / name for directory in self._directories)
        return next((path for path in paths if path.is_file()), None)

    def render(self, name: str, **values: object) -> str:
        """One template, filled in.

        Raises:
            ImagegenError: the template is broken or asks for a value that does not exist.
        """
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            return self._environment.get_template(name).render(**values)
        except TemplateError as error:
            line = f":{error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
            raise ImagegenError(
                f"{error.message}", where=f"{name}{line}", hint="compare it with the shipped one"
            ) from None
        except yaml.representer.RepresenterError:
            raise ImagegenError(
                "asks for a value that does not exist", where=name, hint="see the shipped one"
            ) from None
        except (ValueError, TypeError) as error:  # a filter's refusal
            raise ImagegenError(str(error), where=name) from None

    def text(self, name: str) -> str:
        """A file of the set that is no template."""
        if path := self._path(name):
            return path.read_text(encoding="utf-8")
        raise ImagegenError(f"{name} is missing", hint="reinstall imagegen")


@lru_cache(maxsize=4)
def _environment(directories: tuple[Path, ...], files: tuple[object, ...]) -> Environment:  # noqa: ARG001  # they tell when to compile again
    """Compiled once for all clusters of a fleet, which takes as long as building three of them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Not HTML: each value passes the filter of the format it goes into.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(directories),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters.update(
        yaml=yaml_scalar,
        yaml_text=yaml_text,
        yaml_block=yaml_block,
        env=quote_env,
        unit=_unit_word,
        shell=shlex.quote,
        here_document=_here_document,
    )
    return environment


def _unit_word(value: str) -> str:
    """A value as one word of a systemd unit: no blanks, and no specifier read into it."""
    if not value or re.search(r"[\s\"'\\]", value):
        raise ValueError(f"{value!r} does not fit into a unit file as one word")
    return value.replace("%", "%%")


def _here_document(value: str) -> str:
    """Text for a shell's here-document that ends at a line of END."""
    if "END" in value.splitlines() or not value.endswith("\n"):
        raise ValueError("a text does not fit into a here-document")
    return value


def export_templates(directory: Path) -> list[Path]:
    """Copy the shipped set into ``directory``; returns what was written.

    Raises:
        ImagegenError: a file of the set is already there, or cannot be written.
    """
    source = shipped_directory(SHIPPED)
    return export({name: (source / name).read_bytes() for name in NAMES}, directory)
