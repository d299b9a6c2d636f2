"""One module for each place a member's documents can go; found by its ``NAME``.

A target packages one member's documents. It says how it is called (``NAME``),
what it makes of them (``package``) and how that is attached (``ATTACH``).
Adding a platform adds a module here and touches nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, cast

from imagegen.errors import ImagegenError
from imagegen.render import NodeDocuments


class Target(Protocol):
    """What a module in this package offers."""

    NAME: str
    ATTACH: str

    def package(self, documents: NodeDocuments, *, when: datetime) -> Mapping[str, bytes]:
        """Files for the member's directory beside its plain documents, by name."""


def target_names() -> list[str]:
    """The targets there are; a module's name is its target's with underscores."""
    return sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(__path__))


def load_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        ImagegenError: there is none.
    """
    if name not in target_names():
        raise ImagegenError(
            f"no target is called {name!r}", hint=f"targets: {', '.join(target_names())}"
        )
    module = importlib.import_module(f"imagegen.targets.{name.replace('-', '_')}")
    return cast("Target", module)
