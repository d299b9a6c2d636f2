"""Certificates, those that the operator brings included."""

from __future__ import annotations

from imagegen.spec.checks.members import members_of
from imagegen.spec.kinds import Path, Reader
from imagegen.spec.model import Import, PkiPlan, Spec


def check_pki(spec: Spec, reader: Reader) -> None:
    """Layout, lifetimes and what the operator brings."""
    plan = spec.pki
    if plan is None:
        return
    if plan.layout == "shared" and not plan.allow_shared_key:
        reader.error(
            ("pki", "layout"),
            "with one key pair on all members, whoever steals it from one is all of them",
            "use layout lab or separate, or accept it with `allow_shared_key: true`",
        )
    elif plan.layout == "shared":
        reader.warning(
            ("pki", "layout"),
            "one key pair serves all members",
            "layout lab keeps its file names with a key for each member",
        )
    if plan.allow_shared_key and plan.layout != "shared":
        reader.error(
            ("pki", "allow_shared_key"),
            f"means nothing in layout {plan.layout}",
            "remove it, or choose layout shared",
        )
    if plan.layout == "shared" and not (plan.imports and plan.imports.shared):
        reader.error(
            ("pki",),
            "layout shared needs the pair it shares",
            "give imports.shared.certificate and .key, and imports.ca_certificate",
        )
    if plan.ca_days and plan.leaf_days and plan.leaf_days > plan.ca_days:
        reader.warning(
            ("pki", "leaf_days"),
            f"leaves end with their CA, after {plan.ca_days} days",
            "raise ca_days",
        )
    if plan.imports:
        _check_imports(spec, plan, plan.imports, reader)


def _check_imports(spec: Spec, plan: PkiPlan, given: Import, reader: Reader) -> None:
    path: Path = ("pki", "imports")
    names = {member.name for _, member in members_of(spec)}
    for name in given.members or {}:
        if name not in names:
            reader.error(
                (*path, "members", name),
                "is no member of this cluster",
                f"members: {', '.join(sorted(filter(None, names)))}",
            )
    if given.members:
        for name in sorted(filter(None, names - set(given.members))):
            reader.error(
                (*path, "members"),
                f"{name} is missing",
                "bring a credential for each member, or a CA that signs them",
            )
    if plan.layout == "separate":
        for name, member in (given.members or {}).items():
            if member and member.peer is None:
                reader.error(
                    (*path, "members", name),
                    "peer is missing",
                    "layout separate has two credentials for each member; lab has one",
                )
    else:
        if given.peer_ca or given.peer_ca_certificate:
            key = "peer_ca" if given.peer_ca else "peer_ca_certificate"
            reader.error((*path, key), f"layout {plan.layout} has one CA", "remove it")
    if given.shared and plan.layout != "shared":
        reader.error(
            (*path, "shared"),
            f"means nothing in layout {plan.layout}",
            "choose layout shared, or list the members' own credentials",
        )
    ready_made = bool(given.members) or given.shared is not None
    if ready_made and not given.ca_certificate and not given.ca:
        reader.error(
            path,
            "ca_certificate is missing",
            "ready-made certificates are checked against their CA",
        )
    if (
        ready_made
        and plan.layout == "separate"
        and not (given.peer_ca_certificate or given.peer_ca)
    ):
        reader.error(
            path,
            "peer_ca_certificate is missing",
            "layout separate keeps peers and clients under two CAs",
        )
    for ca, certificate in (("ca", "ca_certificate"), ("peer_ca", "peer_ca_certificate")):
        if getattr(given, ca) and getattr(given, certificate):
            reader.error((*path, certificate), f"{ca} already says which CA", "remove one of them")
