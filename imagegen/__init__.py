"""From one cluster spec to N self-configuring etcd members.

    from imagegen import Options, build_cluster, load_spec

    options = Options(now=datetime.now(UTC))
    built = build_cluster(load_spec(Path("cluster.yaml"), now=options.now), options)

Every function takes values and returns values, or raises ImagegenError.

``build_cluster``, ``build_fleet`` and ``prepare`` write, below the roots that the
options name. So do the verbs for a running cluster, which also ask its members,
with the client certificate in its store:

* ``status`` looks and changes nothing; ``compare`` says what a build would change.
* ``renew``, ``revoke``, ``rotate_ca`` and ``upgrade`` write a script for each member,
  which the operator takes there. With ``dry_run=True`` each returns its plan alone.
* ``replace_member``, ``add_member`` and ``remove_member`` change who belongs to the
  cluster; ``plan_replacement``, ``plan_addition`` and ``plan_removal`` return their
  plans alone.
* ``save_snapshot`` saves all that the cluster holds.

Each verb that changes something tells its plan to ``announce`` before its first step.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from imagegen._version import __version__

__all__ = [
    "ImagegenError",
    "Options",
    "Problem",
    "RenewalRequest",
    "Templates",
    "__version__",
    "add_member",
    "build_cluster",
    "build_fleet",
    "check_path",
    "compare",
    "inspect_seed",
    "load_spec",
    "parse_spec",
    "plan_addition",
    "plan_removal",
    "plan_replacement",
    "prepare",
    "remove_member",
    "render_node",
    "renew",
    "replace_member",
    "revoke",
    "rotate_ca",
    "save_snapshot",
    "spec_schema",
    "status",
    "upgrade",
]

if TYPE_CHECKING:
    from imagegen.base.problems import ImagegenError, Problem
    from imagegen.build.build import build_cluster, build_fleet
    from imagegen.build.build import compare_cluster as compare
    from imagegen.build.load import load_spec
    from imagegen.build.options import Options
    from imagegen.build.prepare import prepare
    from imagegen.day2.member.add import add_member, plan_addition
    from imagegen.day2.member.remove import plan_removal, remove_member
    from imagegen.day2.member.replace import plan_replacement, replace_member
    from imagegen.day2.renew import Request as RenewalRequest
    from imagegen.day2.renew import renew
    from imagegen.day2.revoke import revoke
    from imagegen.day2.rotate_ca import rotate_ca
    from imagegen.day2.snapshot import save_snapshot
    from imagegen.day2.status import status
    from imagegen.day2.upgrade import upgrade
    from imagegen.documents.render import render_node
    from imagegen.documents.templates import Templates
    from imagegen.judge.path import check_path
    from imagegen.judge.seed.inspect import inspect_seed
    from imagegen.spec.read import parse_spec
    from imagegen.spec.reference import spec_schema


#: Each name's module, and what it is called there.
_HOMES = {
    "ImagegenError": ("base.problems", "ImagegenError"),
    "Problem": ("base.problems", "Problem"),
    "build_cluster": ("build.build", "build_cluster"),
    "build_fleet": ("build.build", "build_fleet"),
    "compare": ("build.build", "compare_cluster"),
    "load_spec": ("build.load", "load_spec"),
    "Options": ("build.options", "Options"),
    "prepare": ("build.prepare", "prepare"),
    "add_member": ("day2.member.add", "add_member"),
    "plan_addition": ("day2.member.add", "plan_addition"),
    "plan_removal": ("day2.member.remove", "plan_removal"),
    "remove_member": ("day2.member.remove", "remove_member"),
    "plan_replacement": ("day2.member.replace", "plan_replacement"),
    "replace_member": ("day2.member.replace", "replace_member"),
    "RenewalRequest": ("day2.renew", "Request"),
    "renew": ("day2.renew", "renew"),
    "revoke": ("day2.revoke", "revoke"),
    "rotate_ca": ("day2.rotate_ca", "rotate_ca"),
    "save_snapshot": ("day2.snapshot", "save_snapshot"),
    "status": ("day2.status", "status"),
    "upgrade": ("day2.upgrade", "upgrade"),
    "render_node": ("documents.render", "render_node"),
    "Templates": ("documents.templates", "Templates"),
    "check_path": ("judge.path", "check_path"),
    "inspect_seed": ("judge.seed.inspect", "inspect_seed"),
    "parse_spec": ("spec.read", "parse_spec"),
    "spec_schema": ("spec.reference", "spec_schema"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: ``imagegen --help`` should not pay for all of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, own_name = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), own_name)


def __dir__() -> list[str]:
    """Every public name, imported or not."""
    return sorted({*globals(), *__all__})
