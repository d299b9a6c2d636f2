"""What a run showed, for people and for programs."""

import json
from dataclasses import asdict, dataclass, field

from .cluster import Software
from .drill import Figures


@dataclass(frozen=True)
class Trial:
    """One drill or scenario: what it saw, or why it failed."""

    name: str
    passed: bool
    seconds: float
    saw: str
    ran: tuple[Software, ...] = ()
    """What its members ran when they were a whole cluster; more than one after an upgrade."""


@dataclass
class Report:
    """All of one run."""

    release: str
    """With its architecture, such as trixie-amd64."""
    order: int
    members: list[Figures] = field(default_factory=list)
    quorum: float | None = None
    """Seconds from the first power-on to the first member that was healthy, which takes a quorum;
    None if no cluster was formed."""
    trials: list[Trial] = field(default_factory=list)
    seconds: float = 0

    def as_table(self) -> str:
        """Readable on a terminal."""
        lines = []
        if self.members:
            lines.append(f"{'member':<14} {'cloud-init done':>16} {'healthy':>9} {'memory':>9}")
        lines += [
            f"{f.member:<14} {f.cloud_init_done:>14.1f} s {f.healthy:>7.1f} s {f.memory:>5} MiB"
            for f in self.members
        ]
        if self.quorum is not None:
            lines.append(f"quorum {self.quorum:.1f} s after the first power-on")
        for trial in self.trials:
            verdict = "passed" if trial.passed else "FAILED"
            lines.append(f"{verdict} {trial.name:<12} {trial.seconds:>5.0f} s  {trial.saw}")
        lines += [f"ran {found}" for found in sorted({ran for t in self.trials for ran in t.ran})]
        passed = sum(trial.passed for trial in self.trials)
        lines.append(f"{self.release}: all of it {self.seconds:.0f} s")
        lines.append(f"{passed} passed, {len(self.trials) - passed} failed")
        return "\n".join(lines)

    def as_json(self) -> str:
        """The same, and the steps of each first boot."""
        return json.dumps(asdict(self), indent=2) + "\n"
