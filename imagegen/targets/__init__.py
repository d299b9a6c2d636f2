"""One module for each place a member's documents can go to.

A module says in ``TARGETS`` what it packages for. Adding a platform adds a
module here and touches nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache

from imagegen.base.problems import ImagegenError
from imagegen.targets.payload import Target


@cache
def targets() -> dict[str, Target]:
    """Every target there is, by its name, in the order of names."""
    return {target.name: target for target in sorted(_targets(), key=lambda target: target.name)}


def _targets() -> Iterator[Target]:
    for name in _places():
        yield from importlib.import_module(f"{__name__}.{name}").TARGETS


def _places() -> set[str]:
    """The modules of this package, but for the one that says what a target is."""
    return {info.name for info in pkgutil.iter_modules(__path__)} - {"payload"}


def load_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        ImagegenError: there is none.
    """
    own = name.replace("-", "_")
    if own in _places():
        # The usual case, which should not pay for all the others.
        listed: tuple[Target, ...] = importlib.import_module(f"{__name__}.{own}").TARGETS
        return next(target for target in listed if target.name == name)
    if name not in targets():
        raise ImagegenError(
            f"no target is called {name!r}", hint=f"see `imagegen targets`: {', '.join(targets())}"
        )
    return targets()[name]
