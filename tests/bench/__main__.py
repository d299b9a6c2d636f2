"""Measure builds beside a shell loop of cfssl, envsubst and cloud-localds, in one run.

Every figure is of whole processes, start-up included. Wall time and processor time
are the least of several rounds, in which both ways take turns: of a machine that has
other work too, the least is what says something. In memory (/dev/shm) file syncs cost
nothing, which is how the loop, which syncs nothing, can be compared; on disk they do.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from imagegen.build.load import load_spec
from imagegen.build.options import Options
from imagegen.build.prepare import prepare_from
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.media import nocloud as seed
from imagegen.store.record import record_of
from imagegen.store.store import Store

from .plot import plot
from .work import write_input, write_specs

ROOT = Path(__file__).parents[2]
LOOP = Path(__file__).parent / "loop.sh"
MEMORY = Path("/dev/shm")
PROGRAMS = {
    "cfssl": "golang-cfssl",
    "cfssljson": "golang-cfssl",
    "envsubst": "gettext-base",
    "cloud-localds": "cloud-image-utils",
    "genisoimage": "genisoimage",
}
#: Python with its bytecode, as anyone has it who has installed imagegen.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key[:10] != "PYTHONDONT"}
ENVIRONMENT["PYTHONPATH"] = str(ROOT)
IMAGEGEN = (sys.executable, "-m", "imagegen")


@dataclass(frozen=True)
class Cost:
    """What a process, and all those it waited for, took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float

    def per(self, members: int) -> "Cost":
        """Its share for one of so many."""
        return Cost(self.seconds / members, self.cpu_seconds / members, self.peak_mib)

    def __str__(self) -> str:
        return f"{1000 * self.seconds:.1f} ms ({1000 * self.cpu_seconds:.1f} ms of processor)"


def run(command: Sequence[str | Path], **environment: str) -> Cost:
    """Run it to its end, quietly."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        env=ENVIRONMENT | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    process.stderr.close()
    if process.returncode:
        sys.exit(f"{command[0]} failed:\n{said.decode()[-2000:]}")
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def least(rounds: int, *ways: Callable[[], Cost]) -> list[Cost]:
    """Each way's least costs; they take turns."""
    taken = [[way() for way in ways] for _ in range(rounds)]
    return [
        Cost(
            min(cost.seconds for cost in costs),
            min(cost.cpu_seconds for cost in costs),
            max(cost.peak_mib for cost in costs),
        )
        for costs in zip(*taken, strict=True)
    ]


def build(specs: Sequence[Path], folder: Path, *options: str) -> Cost:
    """Build these clusters and their PKI anew below ``folder``."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        roots = ("--output", f"{place}/out", "--pki", f"{place}/pki")
        return run([*IMAGEGEN, "build", *specs, *roots, *options])


def loop(prepared: Path, folder: Path) -> Cost:
    """The same by the loop."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return run([LOOP, prepared, place])


def compare_one_cluster(work: Path, disk: Path, rounds: int) -> dict[str, object]:
    """Whole processes for one cluster, of one member and of five."""
    results: dict[str, object] = {}
    for layout in ("separate", "lab"):
        for members in (1, 5):
            name = f"{members} members, layout {layout}"
            specs = write_specs(work / name / "specs", clusters=1, members=members, layout=layout)
            write_input(work / name / "input", specs)
            ours, theirs, synced, on_disk = least(
                rounds,
                lambda s=specs: build(s, work),
                lambda n=name: loop(work / n / "input", work),
                lambda s=specs: build(s, disk),
                lambda n=name: loop(work / n / "input", disk),
            )
            results[name] = {
                "members": members,
                "layout": layout,
                "imagegen": asdict(ours),
                "loop": asdict(theirs),
                "imagegen_on_disk": asdict(synced),
                "loop_on_disk": asdict(on_disk),
            }
            print(f"{name}: imagegen {ours}, loop {theirs}", flush=True)
    return results


def compare_fleets(
    work: Path, disk: Path, *, clusters: int, loop_clusters: int, rounds: int
) -> dict[str, object]:
    """What one member more costs among many; the loop is measured on fewer of them."""
    specs = write_specs(work / "fleet", clusters=clusters, members=5, layout="separate")
    write_input(work / "fleet-input", specs[:loop_clusters])
    sizes = sorted({1, max(1, clusters // 10), clusters})
    memory = {5 * n: build(specs[:n], work).peak_mib for n in sizes}
    jobs = str(os.cpu_count())
    ours, parallel, theirs = least(
        rounds,
        lambda: build(specs, work),
        lambda: build(specs, work, "--jobs", jobs),
        lambda: loop(work / "fleet-input", work),
    )
    synced = build(specs, disk)
    members, loop_members = 5 * clusters, 5 * loop_clusters
    result = {
        "members": members,
        "imagegen": asdict(ours),
        "imagegen_jobs": {"jobs": int(jobs), **asdict(parallel)},
        "imagegen_on_disk": asdict(synced),
        "imagegen_per_member": asdict(ours.per(members)),
        "imagegen_jobs_per_member": asdict(parallel.per(members)),
        "imagegen_on_disk_per_member": asdict(synced.per(members)),
        "loop_members_measured": loop_members,
        "loop_per_member": asdict(theirs.per(loop_members)),
        "peak_mib_by_members": memory,
    }
    for name in ("imagegen", "imagegen_jobs", "imagegen_on_disk"):
        share = Cost(**result[f"{name}_per_member"])
        print(f"one of {members} members, {name}: {share}", flush=True)
    print(f"one of {loop_members} members, loop: {theirs.per(loop_members)}", flush=True)
    return result


def measure_start(rounds: int) -> dict[str, object]:
    """What a person waits for before anything is done, and what Typer takes of it."""
    completion = {
        "_IMAGEGEN_COMPLETE": "complete_bash",
        "COMP_WORDS": "imagegen bu",
        "COMP_CWORD": "1",
    }
    program = "import sys; sys.argv = ['imagegen']; from imagegen.cli.entry import main; main()"
    names = ("python", "import typer", "imagegen --help", "shell completion")
    costs = least(
        rounds,
        lambda: run([sys.executable, "-c", "pass"]),
        lambda: run([sys.executable, "-c", "import typer"]),
        lambda: run([*IMAGEGEN, "--help"]),
        lambda: run([sys.executable, "-c", program], **completion),
    )
    for name, cost in zip(names, costs, strict=True):
        print(f"{name}: {cost}", flush=True)
    return {name: asdict(cost) for name, cost in zip(names, costs, strict=True)}


def measure_stages(work: Path, clusters: int = 20) -> dict[str, float]:
    """Milliseconds of processor a member takes in each stage, and what keys and signatures do."""
    specs = write_specs(work / "stages", clusters=clusters, members=5, layout="separate")
    now = datetime.now(UTC)
    options = Options(now=now)
    taken: dict[str, float] = {}

    def clocked(stage: str, work: Callable[[], object]) -> object:
        begun = time.process_time()
        done = work()
        taken[stage] = taken.get(stage, 0) + time.process_time() - begun
        return done

    templates = Templates()
    for number, spec in enumerate(specs):
        if number == 1:
            taken.clear()  # the first compiles the templates and strips the program
        loaded = clocked("read the spec", lambda s=spec: load_spec(s, now=now))
        prepared = clocked("issue", lambda item=loaded: prepare_from(item, options, None))
        cluster, pki = prepared.cluster, prepared.pki
        store = Store(work / "store", cluster.name)
        with store.locked():
            record = record_of(cluster)
            clocked("store", lambda s=store, r=record, p=pki: s.save(r, p))
        for member in cluster.members:
            documents = clocked(
                "render and parse back",
                lambda c=cluster, m=member, p=pki: render_node(c, m, p, templates),
            )
            clocked(
                "ISO and read back",
                lambda d=documents: seed.build_seed(d.files(), when=now),
            )
    members = 5 * (clusters - 1)
    key = ec.generate_private_key(ec.SECP256R1())
    begun = time.process_time()
    for _ in range(200):
        ec.generate_private_key(ec.SECP256R1())
        key.sign(b"certificate", ec.ECDSA(hashes.SHA256()))
    pair = (time.process_time() - begun) / 200
    # Of a cluster of five: two CAs, a client, and two leaves for each member.
    stages = {stage: 1000 * seconds / members for stage, seconds in taken.items()}
    return stages | {"of which keys and signatures": 1000 * pair * 13 / 5}


def measure_sizes(work: Path) -> dict[str, int]:
    """Bytes of the example's documents and ISO, and of cloud-localds' ISO of the same."""
    place = work / "sizes"
    example = (ROOT / "examples/icc-etcd.yaml", "--output", place / "out", "--pki", place / "pki")
    run([*IMAGEGEN, "build", *example])
    member = place / "out/icc-etcd/members/icc-etcd-1"
    documents = ("user-data", "meta-data", "network-config")
    sizes = {name: (member / name).stat().st_size for name in (*documents, "seed.iso")}
    rounded = sum(-(-sizes[name] // 2048) * 2048 for name in documents)
    iso = place / "peer.iso"
    user_data, meta_data, network = (member / name for name in documents)
    run(["cloud-localds", "-N", network, iso, user_data, meta_data])
    sizes |= {"documents in blocks": rounded, "ISO beside documents": sizes["seed.iso"] - rounded}
    sizes["cloud-localds ISO"] = iso.stat().st_size
    for name, size in sizes.items():
        print(f"{name}: {size:,} bytes")
    return sizes


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--report", type=Path, help="JSON file for the figures")
    parser.add_argument("--plot", type=Path, help="SVG file for the picture")
    parser.add_argument("--clusters", type=int, default=200, help="of five members, in a fleet")
    parser.add_argument("--loop-clusters", type=int, default=4, help="of these, built by the loop")
    parser.add_argument("--rounds", type=int, default=5, help="of which the least counts")
    arguments = parser.parse_args()
    if missing := {package for name, package in PROGRAMS.items() if not shutil.which(name)}:
        sys.exit(f"apt-get install {' '.join(sorted(missing))}")
    begun = os.getloadavg()
    with (
        tempfile.TemporaryDirectory(prefix="imagegen-bench-", dir=MEMORY) as memory,
        tempfile.TemporaryDirectory(prefix="imagegen-bench-") as disk,
    ):
        work = Path(memory)
        report = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "packages": {
                name: version(name)
                for name in ("cryptography", "jinja2", "pycdlib", "pyyaml", "typer")
            },
            "cores": os.cpu_count(),
            "start": measure_start(2 * arguments.rounds),
            "one_cluster": compare_one_cluster(work, Path(disk), arguments.rounds),
            "fleet": compare_fleets(
                work,
                Path(disk),
                clusters=arguments.clusters,
                loop_clusters=arguments.loop_clusters,
                rounds=min(arguments.rounds, 3),
            ),
            "milliseconds_by_stage": measure_stages(work),
            "bytes": measure_sizes(work),
            "load": {"before": begun, "after": os.getloadavg()},
        }
    for path, text in (
        (arguments.report, json.dumps(report, indent=2) + "\n"),
        (arguments.plot, plot(report)),
    ):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    main()
