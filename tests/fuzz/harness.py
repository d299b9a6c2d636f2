"""One target under libFuzzer: ``python -m tests.fuzz.harness TARGET CORPUS FLAGS``."""

from __future__ import annotations

import resource
import sys
import time
from importlib import import_module
from random import Random

import atheris

#: Far above what any input takes here (milliseconds), far below what anyone would wait.
SECONDS = 5.0
#: What reading one input may add to the most memory ever used, in KiB.
MEMORY = 128 * 1024


def main() -> None:
    name, *flags = sys.argv[1:]
    with atheris.instrument_imports(include=["imagegen"]):
        target = import_module(f"tests.fuzz.{name}")

    def check(data: bytes) -> None:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.process_time()
        target.check(data)
        seconds = time.process_time() - started
        if seconds > SECONDS:
            raise AssertionError(f"one input took {seconds:.1f} s")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most
        if grown > MEMORY:
            raise AssertionError(f"one input took {grown // 1024} MB")

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.1 and data:
            return bytes(atheris.Mutate(data, most))
        return target.mutate(data, random)[:most]

    limits = ["-timeout=30", "-rss_limit_mb=1024", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *flags], check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
