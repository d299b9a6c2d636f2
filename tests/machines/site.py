"""Where machines are tried: an image, a LAN with its package source, and a folder to build in."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .cluster import Cluster, Software
from .host import BootError
from .image import Image
from .network import Network, WebServer

EXAMPLE = Path(__file__).parents[2] / "examples/icc-etcd.yaml"


def example(members: int, **changes: object) -> dict[str, Any]:
    """The example's spec with its first members, and with changes of other settings."""
    spec: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    spec["members"] = spec["members"][:members]
    return spec | changes


def imagegen(*argv: str, cwd: Path | None = None) -> None:
    """Call the program under test."""
    command = (sys.executable, "-m", "imagegen", *argv)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=180)
    if done.returncode:
        raise BootError(f"imagegen {' '.join(argv)}: exit {done.returncode}\n{done.stderr}")


@dataclass(frozen=True)
class Site:
    """All that a trial needs of its surroundings."""

    image: Image
    network: Network
    source: WebServer
    work: Path
    found: set[Software] = field(default_factory=set)
    """What members have run, since whoever reports it last looked."""

    def build(self, name: str, spec: dict[str, Any], *flags: str) -> Path:
        """Build a spec as its user would; of the same name, with the same keys."""
        folder = self.work / name
        folder.mkdir(exist_ok=True)
        # JSON is YAML, and leaves no doubt about what is a string.
        (folder / "spec.yaml").write_text(json.dumps(spec))
        imagegen("build", "spec.yaml", "--force", *flags, cwd=folder)
        return folder / "out" / str(spec["cluster"])

    def cluster(self, output: Path) -> Cluster:
        """Machines for the members of an output directory."""
        taken = len(list(self.work.glob("machines-*")))
        directory = self.work / f"machines-{output.parent.parent.name}-{taken}"
        return Cluster(output, self.image, self.network, directory, self.found)
