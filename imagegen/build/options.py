"""How to build: what the operator chose for all clusters of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from imagegen.build.snapshot_file import Snapshot
from imagegen.spec.model import Spec
from imagegen.spec.secrets import Secrets
from imagegen.targets import payload

#: What is packaged for unless the operator says otherwise.
USUAL_TARGETS = ("nocloud-iso",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a new cluster begins with: a snapshot, and what its revision is raised by."""

    snapshot: Snapshot
    bump_revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to build, the same for every cluster of a run.

    ``now`` is the clock for everything that is made in this run.
    """

    now: datetime
    output: Path = Path("out")
    pki: Path = Path("pki")
    targets: tuple[str, ...] = USUAL_TARGETS
    payload: payload.Options = field(default_factory=payload.Options)
    secrets: Secrets | None = None
    allow_secrets_over_network: bool = False
    members: tuple[str, ...] = ()
    templates: Path | None = None
    reissue: bool = False
    force: bool = False
    new_cluster: bool = False
    start: Start | None = None
    passphrase: bytes | None = field(default=None, repr=False)


def secrets_for(target: payload.Target | None, spec: Spec, options: Options) -> Secrets:
    """How private keys reach a member through ``target``: as asked for, else as suits it.

    Without a target they are in the plain user-data.
    """
    usual = target.secrets if target else Secrets.EMBED
    return options.secrets or Secrets(spec.secrets or usual)
