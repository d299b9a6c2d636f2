"""Boot real machines from their seeds alone, and show what becomes of them.

Drills share one cluster of the example's members, scenarios have their own.
"""

import argparse
import datetime
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from . import drill
from .architecture import AMD64, ARCHITECTURES
from .cluster import Cluster
from .drill import DRILLS as INCIDENTS
from .host import PACKAGES, BootError, find_mirror, install_packages
from .image import RELEASES, build_image, default_cache
from .life import LIFE, restored
from .machine import GuestCrashedError
from .network import Network, WebServer
from .report import Report, Trial
from .scenario import SCENARIOS as ARRIVALS
from .site import Site, example

DRILLS = INCIDENTS | LIFE
SCENARIOS = ARRIVALS | {"restored": restored}


def main() -> int:
    """Run it; the exit status says whether all promises were kept."""
    arguments = parse_arguments()
    # Ended politely, machines, network and folders are gone as after ^C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    architecture = ARCHITECTURES[arguments.architecture]
    install_packages((*PACKAGES, *architecture.host_packages))
    release = replace(RELEASES[arguments.release], architecture=architecture)
    image = build_image(release, find_mirror(), default_cache())
    report = Report(release=release.name, order=arguments.seed)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imagegen-boot-") as folder:
        work = Path(folder)
        with (
            Network() as network,
            WebServer(network, image.packages, work / "packages.log") as source,
            # A crash of a kernel is the host's or QEMU's: no later boot would show more.
            suppress(GuestCrashedError),
        ):
            try_all(Site(image, network, source, work), arguments, report)
    tried = {trial.name for trial in report.trials}
    report.trials += [Trial(n, False, 0, "not run") for n in arguments.names if n not in tried]
    report.seconds = round(time.monotonic() - begun, 1)
    print(report.as_table())
    if arguments.report:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(report.as_json())
    return 0 if all(trial.passed for trial in report.trials) else 1


def parse_arguments() -> argparse.Namespace:
    """What to boot; by default all there is."""
    names = ("form", *DRILLS, *SCENARIOS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.machines", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"drills and scenarios: {', '.join(names)}"
    )
    parser.add_argument("--release", choices=sorted(RELEASES), default="trixie")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default=AMD64.name)
    parser.add_argument("--members", type=int, default=5, help="of the drills' cluster")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the order")
    parser.add_argument("--stagger", type=float, default=5, help="seconds between power-ons")
    parser.add_argument(
        "--rotate", type=int, default=0, metavar="N", help="and N others, which the day decides"
    )
    parser.add_argument("--report", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no drill or scenario: {', '.join(sorted(unknown))}")
    if not arguments.names:
        arguments.names = list(names)
    # Golden images take longest of all, and have targets of their own.
    others = [n for n in names if n not in arguments.names and not n.startswith("golden")]
    today = datetime.datetime.now(datetime.UTC).date().toordinal()
    arguments.names += rotation(others, arguments.rotate, today)
    return arguments


def rotation(names: Sequence[str], count: int, day: int) -> list[str]:
    """The names whose day it is; all have theirs before any has another."""
    return [names[(day * count + turn) % len(names)] for turn in range(min(count, len(names)))]


def try_all(site: Site, arguments: argparse.Namespace, report: Report) -> None:
    """Form the cluster and drill it, then play the scenarios."""
    names: list[str] = arguments.names
    drills = [name for name in names if name in DRILLS]
    if drills or "form" in names:
        # As its owner would, and no other boot does: with the name of what the machines run.
        spec = example(arguments.members, distribution=site.image.release.distribution)
        with site.cluster(site.build("cluster", spec)) as cluster:
            whole = attempt("form", lambda: form(cluster, arguments, report), report, site)
            for name in drills:
                # After a failure nothing that is said of this cluster would count.
                whole = whole and attempt(name, partial(DRILLS[name], cluster, site), report, site)
    for name in names:
        if name in SCENARIOS:
            attempt(name, partial(SCENARIOS[name], site), report, site)


def form(cluster: Cluster, arguments: argparse.Namespace, report: Report) -> str:
    """Form the cluster, and report what it took."""
    report.members = drill.form(cluster, seed=arguments.seed, stagger=arguments.stagger)
    starts = {member.name: member.machine.powered_on for member in cluster.members}
    healthy = min(starts[figures.member] + figures.healthy for figures in report.members)
    report.quorum = round(healthy - min(starts.values()), 1)
    return f"{len(cluster.members)} members, power-on in order {arguments.seed}"


def attempt(name: str, trial: Callable[[], str], report: Report, site: Site) -> bool:
    """Run one of them, say at once how it went, and give whether it did well."""
    begun = time.monotonic()
    site.found.clear()
    try:
        passed, saw = True, trial()
    except GuestCrashedError as crash:
        report.trials.append(Trial(name, False, round(time.monotonic() - begun, 1), str(crash)))
        raise
    except BootError as error:
        passed, saw = False, str(error)
    took = round(time.monotonic() - begun, 1)
    result = Trial(name, passed, took, saw, tuple(sorted(site.found)))
    report.trials.append(result)
    print(
        f"{name}: {'passed' if passed else 'FAILED'} in {result.seconds:.0f} s: {saw}", flush=True
    )
    return passed


if __name__ == "__main__":
    sys.exit(main())
