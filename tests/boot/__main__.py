"""Boot members of examples/icc-etcd.yaml from their seeds alone, and report.

python -m tests.boot [--release trixie|bookworm] [--members N] [--bus virtio|scsi|ide]
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from . import drill
from .cluster import Cluster
from .host import BootError, find_mirror, install_packages
from .image import RELEASES, build_image, default_cache
from .machine import SeedBus
from .network import Network, PackageSource

SPEC = Path(__file__).parents[2] / "examples/icc-etcd.yaml"


def main() -> int:
    """Run it; the exit status says whether all promises were kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", choices=sorted(RELEASES), default="trixie")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--bus", choices=[bus.name.lower() for bus in SeedBus], default="virtio")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the order")
    parser.add_argument("--stagger", type=float, default=5, help="seconds between power-ons")
    parser.add_argument("--report", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    install_packages()
    image = build_image(RELEASES[arguments.release], find_mirror(), default_cache())
    print(f"{arguments.members} x {arguments.release}, order {arguments.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imagegen-boot-") as folder:
        work = Path(folder)
        output = build(work, arguments.members)
        with (
            Network() as network,
            PackageSource(network, image.packages, work / "packages.log"),
            Cluster(
                output, image, network, work / "machines", bus=SeedBus[arguments.bus.upper()]
            ) as cluster,
        ):
            try:
                figures = drill.form(cluster, seed=arguments.seed, stagger=arguments.stagger)
            except BootError as error:
                print(f"{error}\n0 passed, 1 failed")
                return 1
    print(drill.as_table(figures))
    print(f"all of it: {time.monotonic() - begun:.0f} s\n1 passed, 0 failed")
    if arguments.report:
        arguments.report.write_text(drill.as_json(figures))
    return 0


def build(work: Path, members: int) -> Path:
    """Build the example's first members, as its user would."""
    spec = yaml.safe_load(SPEC.read_text())
    spec["members"] = spec["members"][:members]
    (work / "icc-etcd.yaml").write_text(yaml.safe_dump(spec))
    command = [sys.executable, "-m", "imagegen", "build", "icc-etcd.yaml"]
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return work / "out/icc-etcd"


if __name__ == "__main__":
    sys.exit(main())
