"""Groups of commands, each imported when it is called.

A start pays for one command only: Typer looks at the signature of each function
it is given. This is Click's own way (its documentation, "Lazily Loading
Subcommands"), with the group class that Typer takes.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


class Group(NamedTuple):
    """Commands below a name; each is the place of its function, ``MODULE:NAME``."""

    help: str
    commands: "Mapping[str, str | Group]"


def group_class(commands: Mapping[str, str | Group]) -> type[TyperGroup]:
    """The class of a group that has these commands."""

    class Commands(TyperGroup):
        """Knows all names from the start, and a command once it was asked for."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            # Typer suggests from these names where one is misspelt.
            names: dict[str, Any] = dict.fromkeys(commands)
            self.commands = names

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the base class has it
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # the base class has it
            if cmd_name in commands and self.commands[cmd_name] is None:
                self.commands[cmd_name] = _loaded(cmd_name, commands[cmd_name])
            return self.commands.get(cmd_name)

    return Commands


def _loaded(name: str, place: str | Group) -> Any:
    if isinstance(place, Group):
        app = typer.Typer(
            name=name,
            cls=group_class(place.commands),
            help=place.help,
            no_args_is_help=True,
            add_completion=False,
            rich_markup_mode=None,
        )
        return get_group(app)
    module, _, function = place.partition(":")
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name)(getattr(import_module(module), function))
    return get_command(app)
