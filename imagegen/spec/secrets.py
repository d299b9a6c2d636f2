"""How private keys reach a member."""

from __future__ import annotations

from enum import StrEnum


class Secrets(StrEnum):
    """The ways private keys can travel."""

    #: In user-data, with everything else.
    EMBED = "embed"
    #: On a disk of their own.
    SPLIT = "split"
    #: As files that the operator puts on the member.
    EXTERNAL = "external"
