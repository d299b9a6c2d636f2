"""Fuzz one target after another, each in a process of its own; exit status 1 if one failed."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from importlib import import_module
from pathlib import Path

TARGETS = ("specs", "isos", "certificates")
REPORTS = Path("out/fuzz")


def fuzz(name: str, *, runs: int, seconds: int, seed: int) -> bool:
    """Whether nothing was found."""
    target = import_module(f"tests.fuzz.{name}")
    log = REPORTS / f"{name}-{seed}.log"
    REPORTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as corpus, log.open("wb") as output:
        for content in target.seeds():
            (Path(corpus) / sha256(content).hexdigest()).write_bytes(content)
        command = [
            *(sys.executable, "-m", "tests.fuzz.harness", name, corpus),
            *(f"-runs={runs}", f"-max_total_time={seconds}", f"-seed={seed}"),
            f"-max_len={target.LARGEST}",
            f"-artifact_prefix={REPORTS}/{name}-",
        ]
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
    text = log.read_text(errors="replace")
    done = re.search(r"Done (\d+) runs", text)
    # A process that only ends well, having run nothing, has shown nothing.
    good = status == 0 and done is not None and int(done[1]) > 0
    if not good:
        print("\n".join(text.splitlines()[-40:]))
    peak = re.search(r"peak_rss_mb: *(\d+)", text)
    print(
        f"{name}: {done[1] if done else '?'} inputs in {time.monotonic() - started:.0f} s, "
        f"at most {peak[1] if peak else '?'} MB, {'nothing found' if good else 'FAILED'} ({log})",
        flush=True,
    )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=0, help="for each target; 0: no limit")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--runs", action="store_true", help="targets are NAME=NUMBER of inputs")
    parser.add_argument("targets", nargs="+", metavar="target", help=", ".join(TARGETS))
    arguments = parser.parse_args()
    good = True
    for target in arguments.targets:
        name, _, number = target.partition("=")
        if name not in TARGETS or (arguments.runs and not number.isdigit()):
            parser.error(f"no target: {target}")
        runs = int(number) if arguments.runs else -1
        good &= fuzz(name, runs=runs, seconds=arguments.seconds, seed=arguments.seed)
    sys.exit(not good)


if __name__ == "__main__":
    main()
