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

from imagegen._version import __version__

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
    from imagegen.base.problems import ImagegenError, Problem
    from imagegen.build.build import Options, build_cluster, build_fleet, load_spec, prepare
    from imagegen.documents.render import render_node
    from imagegen.documents.templates import Templates
    from imagegen.judge.path import check_path
    from imagegen.judge.seed.inspect import inspect_seed
    from imagegen.spec.read import parse_spec
    from imagegen.spec.reference import spec_schema


_HOMES = {
    "base.problems": ("ImagegenError", "Problem"),
    "build.build": ("Options", "build_cluster", "build_fleet", "load_spec", "prepare"),
    "judge.path": ("check_path",),
    "judge.seed.inspect": ("inspect_seed",),
    "spec.model": ("parse_spec", "spec_schema"),
    "documents.render": ("render_node",),
    "documents.templates": ("Templates",),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: ``imagegen --help`` should not pay for all of it."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
