"""Certificates: their layout, their lifetimes, and those that the operator brings."""

from __future__ import annotations

from collections.abc import Iterator

from imagegen.base.problems import Severity
from imagegen.spec.draft import Draft, PathProblem
from imagegen.spec.model import Import, PkiPlan

IMPORTS = ("pki", "imports")


def layout_problems(draft: Draft) -> Iterator[PathProblem]:
    """One key pair for all members is asked for, accepted and brought, or none of these."""
    plan = draft.get(PkiPlan, "pki")
    if plan is None:
        return
    if plan.layout != "shared":
        if plan.allow_shared_key:
            yield PathProblem(
                ("pki", "allow_shared_key"),
                f"has no effect when pki.layout is {plan.layout}",
                "remove it, or choose layout shared",
            )
        return
    if plan.allow_shared_key:
        yield PathProblem(
            ("pki", "layout"),
            "one key pair serves all members",
            "layout lab keeps its file names with a key for each member",
            Severity.WARNING,
        )
    else:
        yield PathProblem(
            ("pki", "layout"),
            "with one key pair on all members, whoever steals it from one is all of them",
            "use layout lab or separate, or accept it with `allow_shared_key: true`",
        )
    if not (plan.imports and plan.imports.shared):
        yield PathProblem(
            ("pki",),
            "layout shared needs the pair it shares",
            "give imports.shared.certificate and .key, and imports.ca_certificate",
        )


def lifetime_problems(draft: Draft) -> Iterator[PathProblem]:
    """Leaves do not outlive their CA."""
    plan = draft.get(PkiPlan, "pki")
    if plan and plan.leaf_days > plan.ca_days:
        yield PathProblem(
            ("pki", "leaf_days"),
            f"leaves end with their CA, after {plan.ca_days} days",
            "raise ca_days",
            Severity.WARNING,
        )


def import_problems(draft: Draft) -> Iterator[PathProblem]:
    """What the operator brings fits the layout, and is complete."""
    plan = draft.get(PkiPlan, "pki")
    if plan is None or plan.imports is None:
        return
    given = plan.imports
    yield from _misplaced(plan, given)
    yield from _unnamed_ca(plan, given)
    yield from _member_problems(draft, given)


def _misplaced(plan: PkiPlan, given: Import) -> Iterator[PathProblem]:
    """What the layout has no place for, or needs one more of."""
    if plan.layout == "separate":
        for name, member in given.members.items():
            if member.peer is None:
                yield PathProblem(
                    (*IMPORTS, "members", name),
                    "peer is missing",
                    "layout separate has two credentials for each member; lab has one",
                )
    elif given.peer_ca or given.peer_ca_certificate:
        key = "peer_ca" if given.peer_ca else "peer_ca_certificate"
        yield PathProblem((*IMPORTS, key), f"layout {plan.layout} has one CA", "remove it")
    if given.shared and plan.layout != "shared":
        yield PathProblem(
            (*IMPORTS, "shared"),
            f"has no effect when pki.layout is {plan.layout}",
            "choose layout shared, or list the members' own credentials",
        )


def _unnamed_ca(plan: PkiPlan, given: Import) -> Iterator[PathProblem]:
    """Ready-made certificates come with their CA's, which is named once."""
    ready_made = bool(given.members) or given.shared is not None
    if ready_made and not (given.ca_certificate or given.ca):
        yield PathProblem(
            IMPORTS,
            "ca_certificate is missing",
            "ready-made certificates are checked against their CA",
        )
    two_cas = plan.layout == "separate"
    if ready_made and two_cas and not (given.peer_ca_certificate or given.peer_ca):
        yield PathProblem(
            IMPORTS,
            "peer_ca_certificate is missing",
            "layout separate keeps peers and clients under two CAs",
        )
    for ca, certificate in (("ca", "ca_certificate"), ("peer_ca", "peer_ca_certificate")):
        if getattr(given, ca) and getattr(given, certificate):
            what = f"{ca} already says which CA"
            yield PathProblem((*IMPORTS, certificate), what, "remove one of them")


def _member_problems(draft: Draft, given: Import) -> Iterator[PathProblem]:
    """Ready-made credentials are of members, and of each of them."""
    names = {name for _, name in draft.each(str, "members", int, "name")}
    for name in sorted(names - given.members.keys()) if given.members else ():
        yield PathProblem(
            (*IMPORTS, "members"),
            f"{name} is missing",
            "bring a credential for each member, or a CA that signs them",
        )
    if len(names) < draft.count("members", int):
        return  # a name that could not be read may be one of those that are brought
    for name in given.members:
        if name not in names:
            yield PathProblem(
                (*IMPORTS, "members", name),
                "is not a member of this cluster",
                f"members: {', '.join(sorted(names))}",
            )
