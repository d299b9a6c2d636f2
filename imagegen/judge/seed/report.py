"""What is on a seed, as values, as JSON and as text; no secret is in any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from imagegen.base.problems import Problem, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file of the seed, without its content."""

    name: str
    size: int
    sha256: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateReport:
    """A certificate that user-data writes to the member."""

    subject: str
    sans: tuple[str, ...]
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """An entry of ``write_files``; size and keys are those of the decoded content."""

    path: str
    size: int
    mode: str
    owner: str
    deferred: bool
    private_keys: int
    certificates: tuple[CertificateReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserData:
    """What the user-data configures, cloud-config parts taken together."""

    hostname: str
    packages: tuple[str, ...]
    users: tuple[str, ...]
    files: tuple[WrittenFile, ...]
    commands: int
    private_keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything ``inspect`` has to say about one seed; it holds no secret."""

    source: str
    label: str
    created: datetime | None
    rock_ridge: bool
    joliet: bool
    instance_id: str
    local_hostname: str
    files: tuple[FileReport, ...]
    user_data: UserData | None
    problems: tuple[Problem, ...]

    @property
    def accepted(self) -> bool:
        """Whether cloud-init would use the seed and every document on it."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Return the report as values :mod:`json` can write."""
        values = asdict(self, dict_factory=_jsonable)
        return {"accepted": self.accepted, **values}

    def lines(self) -> list[str]:
        """Return the report as text for a person."""
        extensions = [
            name
            for name, present in (("Rock Ridge", self.rock_ridge), ("Joliet", self.joliet))
            if present
        ]
        lines = [
            f"{self.source}: cloud-init would {'' if self.accepted else 'not '}accept this seed",
            f"label {self.label or 'none'}, {' and '.join(extensions) or 'plain ISO 9660'}, "
            f"instance-id {self.instance_id or 'none'}",
        ]
        lines += [
            f"  {file.name}: {file.size} bytes, {file.kind}, sha256 {file.sha256}"
            for file in self.files
        ]
        if self.user_data:
            lines += _user_data_lines(self.user_data)
        return lines + [line for problem in self.problems for line in str(problem).splitlines()]


def _jsonable(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in pairs
    }


def _user_data_lines(user_data: UserData) -> Iterator[str]:
    yield f"user-data: {user_data.commands} commands, {user_data.private_keys} private keys"
    for title, values in (
        ("hostname", (user_data.hostname,)),
        ("packages", user_data.packages),
        ("users", user_data.users),
    ):
        if any(values):
            yield f"  {title}: {', '.join(values)}"
    for file in user_data.files:
        keys = f", {file.private_keys} private keys" if file.private_keys else ""
        yield f"  {file.path}: {file.size} bytes, {file.mode} {file.owner}{keys}"
        for certificate in file.certificates:
            yield (
                f"    {certificate.subject or 'no subject'}, "
                f"for {', '.join(certificate.sans) or 'no names'}, "
                f"until {certificate.not_after:%Y-%m-%d}"
            )
