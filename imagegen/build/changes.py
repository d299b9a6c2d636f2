"""What a build would change, and whether a member that runs would notice.

cloud-init reads a seed once for each instance-id, so most changes reach a
running member only by the operator's hand, or with a new generation. What etcd
makes of a change depends on which file it is in: it reads leaf certificates at
every handshake, its environment and CAs as it starts, and who it is only once.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from imagegen.base.problems import ImagegenError
from imagegen.cluster.cluster import Cluster
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.documents.render import NodeDocuments
from imagegen.pki.pem import describe
from imagegen.spec.yaml import LOADER, nested_too_deep

#: Lines of a text's difference that are shown.
MOST_LINES = 40


class Effect(StrEnum):
    """What a change means to a member that runs."""

    REPLACE = "only by replacing the member, which etcd knows by this: imagegen member replace"
    FIRST_BOOT = "first boot runs again, at the next boot with the new seed"
    RESTART = "a file to put in place, and etcd to restart"
    HANDSHAKE = "files to put in place, each by one rename; etcd reads them at the next handshake"
    IGNORED = "not noticed: cloud-init has read its seed; a new generation brings it, or you do"
    FIRST_START = "no matter for a member that has data: etcd reads it at its first start alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference; neither side holds a secret, and a side that is not there is empty."""

    member: str
    what: str
    before: str
    after: str
    effect: Effect

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {
            "member": self.member,
            "what": self.what,
            "before": self.before,
            "after": self.after,
            "effect": self.effect.name.lower().replace("_", "-"),
        }


#: Settings that are read only where the data directory is empty.
_FIRST_START = ("ETCD_INITIAL_CLUSTER", "ETCD_INITIAL_CLUSTER_STATE", "ETCD_INITIAL_CLUSTER_TOKEN")
#: Settings that are who the member is.
_IDENTITY = ("ETCD_NAME", "ETCD_INITIAL_ADVERTISE_PEER_URLS", "ETCD_DATA_DIR", "ETCD_WAL_DIR")


def member_changes(documents: NodeDocuments, directory: Path) -> Iterator[Change]:
    """How a member's documents differ from those built into a cluster's ``directory``.

    Raises:
        ImagegenError: what is there cannot be read.
    """
    name, base = documents.member.name, directory / documents.folder
    if not base.is_dir():
        yield Change(member=name, what="member", before="", after="new", effect=Effect.FIRST_BOOT)
        return
    found = _Differences(documents.cluster, name)
    old, new = _yaml(base / "meta-data"), _parsed(documents.meta_data)
    for key in sorted(old.keys() | new.keys()):
        effect = Effect.FIRST_BOOT if key == "instance-id" else Effect.IGNORED
        yield from found.value(f"meta-data {key}", old.get(key), new.get(key), effect)
    if _yaml(base / "network-config") != _parsed(documents.network_config):
        before = (base / "network-config").read_text()
        yield found.text("network-config", before, documents.network_config, Effect.IGNORED)
    yield from found.user_data(_yaml(base / "user-data"), _parsed(documents.user_data))


def removed_members(cluster: Cluster, directory: Path) -> list[str]:
    """Members that were built into ``directory`` and are no longer in the spec."""
    names = {member.name for member in cluster.members}
    return sorted(
        path.parent.name
        for path in directory.glob("members/*/user-data")
        if path.parent.name not in names
    )


@dataclass(frozen=True, slots=True)
class _Differences:
    """Compares the parts of one member's documents."""

    cluster: Cluster
    member: str

    def value(self, what: str, before: Any, after: Any, effect: Effect) -> Iterator[Change]:
        if before != after:
            yield Change(
                member=self.member,
                what=what,
                before=_shown(before),
                after=_shown(after),
                effect=effect,
            )

    def text(self, what: str, before: str, after: str, effect: Effect) -> Change:
        """A difference line by line, as ``after``; nothing is said of a private key."""
        if "PRIVATE KEY-----" in before + after:
            told = "another private key" if before and after else "a private key"
            return Change(
                member=self.member,
                what=what,
                before=told if before else "",
                after=told if after else "",
                effect=effect,
            )
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
        shown = list(lines)[2:]
        more = len(shown) - MOST_LINES
        rest = [f"({more} more lines)"] if more > 0 else []
        return Change(
            member=self.member,
            what=what,
            before="",
            after="\n".join([*shown[:MOST_LINES], *rest]),
            effect=effect,
        )

    def user_data(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
        for key in sorted((old.keys() | new.keys()) - {"write_files"}):
            yield from self.value(f"user-data {key}", old.get(key), new.get(key), Effect.IGNORED)
        before, after = _files(old), _files(new)
        for path in sorted(before.keys() | after.keys()):
            one, other = before.get(path, {}), after.get(path, {})
            if one.get("content") != other.get("content"):
                texts = str(one.get("content", "")), str(other.get("content", ""))
                yield from self.file(path, *texts)
            elif one != other:
                yield from self.value(
                    path, _without_content(one), _without_content(other), Effect.IGNORED
                )

    def file(self, path: str, before: str, after: str) -> Iterator[Change]:
        """A file on the member; each kind in its own terms."""
        paths = self.cluster.credential_paths
        if path == guest.ETCD_DEFAULTS and before and after:
            yield from self.settings(before, after)
        elif path == guest.CONFIG and before and after:
            old, new = _json(before), _json(after)
            for key in sorted(old.keys() | new.keys()):
                yield from self.value(
                    f"first boot's {key}", old.get(key), new.get(key), Effect.IGNORED
                )
        elif path in (paths.ca, paths.peer_ca):
            yield from self.value(path, _certificate(before), _certificate(after), Effect.RESTART)
        elif path in (paths.server, paths.peer):
            yield from self.value(path, _certificate(before), _certificate(after), Effect.HANDSHAKE)
        elif path in (paths.server_key, paths.peer_key):
            yield self.text(path, before, after, Effect.HANDSHAKE)
        elif path in (guest.ETCD_DROPIN, guest.ETCD_UNIT):
            yield self.text(path, before, after, Effect.RESTART)
        else:
            yield self.text(path, before, after, Effect.IGNORED)

    def settings(self, before: str, after: str) -> Iterator[Change]:
        old, new = parse_env(before), parse_env(after)
        for name in sorted(old.keys() | new.keys()):
            if name in _FIRST_START:
                effect = Effect.FIRST_START
            elif name in _IDENTITY:
                effect = Effect.REPLACE
            else:
                effect = Effect.RESTART
            yield from self.value(name, old.get(name), new.get(name), effect)


def _files(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    files = config.get("write_files")
    return {
        str(file.get("path")): file
        for file in (files if isinstance(files, list) else ())
        if isinstance(file, dict)
    }


def _without_content(file: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in file.items() if key not in ("content", "path")}


def _certificate(text: str) -> str:
    """Which certificate it is, to tell it from another."""
    if not text:
        return ""
    try:
        facts = describe(text)
    except (ValueError, ImagegenError):
        return "no certificate"
    names = ", ".join(facts.sans)
    return f"serial {facts.serial:x}, until {facts.not_after:%Y-%m-%d}" + (
        f", for {names}" if names else ""
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return "(holds a private key)" if "PRIVATE KEY-----" in text else text


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ImagegenError(f"cannot be read: {reason}", where=str(path)) from None
    except yaml.YAMLError:
        raise ImagegenError(
            "is no YAML", where=str(path), hint="see imagegen check; or build with --force"
        ) from None


def _parsed(text: str) -> dict[str, Any]:
    if nested_too_deep(text):
        raise yaml.YAMLError
    document = yaml.load(text, Loader=LOADER)  # noqa: S506  # a safe loader
    return document if isinstance(document, dict) else {}


def _json(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
