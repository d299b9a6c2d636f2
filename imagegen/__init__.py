"""From one cluster spec to N self-configuring etcd members.

    from imagegen import Options, build_cluster, load_spec

    options = Options(now=datetime.now(UTC))
    built = build_cluster(load_spec(Path("cluster.yaml"), now=options.now), options)

Every function takes values and returns values, or raises ImagegenError; only
``build_cluster``, ``build_fleet`` and ``prepare`` write, below the roots that
the options name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "ImagegenError",
    "Options",
    "Problem",
    "Templates",
    "__version__",
    "build_cluster",
    "build_fleet",
    "check_path",
    "inspect_seed",
    "load_spec",
    "parse_spec",
    "prepare",
    "render_node",
    "spec_schema",
]

if TYPE_CHECKING:
    from imagegen.build import Options, build_cluster, build_fleet, load_spec, prepare
    from imagegen.check import check_path
    from imagegen.errors import ImagegenError, Problem
    from imagegen.inspect import inspect_seed
    from imagegen.render import render_node
    from imagegen.spec import parse_spec, spec_schema
    from imagegen.templates import Templates


_HOMES = {
    "errors": ("ImagegenError", "Problem"),
    "build": ("Options", "build_cluster", "build_fleet", "load_spec", "prepare"),
    "check": ("check_path",),
    "inspect": ("inspect_seed",),
    "spec": ("parse_spec", "spec_schema"),
    "render": ("render_node",),
    "templates": ("Templates",),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: ``imagegen --help`` should not pay for all of it."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
