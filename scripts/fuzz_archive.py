"""Throw mutated archives at the reader, guided by what of the reader's code they reach.

Only `Damage` may come out; no read may leave the file, no buffer may be larger than the file or a
frame, nothing may take longer than a moment. Most mutations would die at a digest, so every other
input has all its digests made right again first.

Run by `make fuzz` with atheris, which needs no preparation but its package; without atheris
(``--plain``) the same mutations are tried blindly, faster.

What it is not: the fixed mutations that `make test` runs every time (tests/unit/archive).

Concurrency: one process; give each of several its own ``--seed``.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MOMENT_S = 10
SIZE_MAX = 1 << 16


def main() -> int:
    """Run for a number of inputs or seconds; 1 if something broke."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz_archive.py", description=__doc__)
    parser.add_argument("--runs", type=int, default=-1, help="how many inputs at most")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(31))
    parser.add_argument("--plain", action="store_true", help="without atheris")
    options = parser.parse_args()
    print(f"fuzz: archives, seed {options.seed}", flush=True)
    if options.plain:
        return plainly(options)
    return guided(options)


def plainly(options: argparse.Namespace) -> int:
    """Mutate the seeds at random."""
    from tests.unit.archive import mutating

    chance = random.Random(options.seed)
    seeds = list(mutating.seeds())
    end, runs = time.monotonic() + options.seconds, 0
    while runs != options.runs and time.monotonic() < end:
        # The last seed is large, and slow.
        seed = seeds[-1] if chance.random() < 0.01 else chance.choice(seeds[:-1])
        data = mutating.mutated(chance, seed)
        started = time.monotonic()
        try:
            mutating.exercise(data)
        except BaseException:
            keep(data)
            raise
        if time.monotonic() - started > MOMENT_S:
            keep(data)
            print("fuzz: it took too long")
            return 1
        runs += 1
    print(f"fuzz: {runs} archives, nothing broke")
    return 0


def guided(options: argparse.Namespace) -> int:
    """Let libFuzzer choose, by coverage of vfsd.archive."""
    import tempfile

    import atheris

    with atheris.instrument_imports(include=["vfsd.archive", "vfsd.codec"]):
        from tests.unit.archive import mutating

    def one(data: bytes) -> None:
        if not data:
            return
        archive = data[1:]
        mutating.exercise(mutating.mended(archive) if data[0] & 1 else archive)

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5 and data:
            return data[:1] + mutating.mutated(chance, data[1:])[: size_max - 1]
        return bytes(atheris.Mutate(data, size_max))

    with tempfile.TemporaryDirectory(prefix="vfsd-fuzz-") as corpus:
        for number, seed in enumerate(mutating.seeds()):
            for flag in (b"\0", b"\1"):
                Path(corpus, f"{number}{flag.hex()}").write_bytes(flag + seed)
        arguments = [
            *(sys.argv[0], corpus, f"-seed={options.seed}", f"-max_total_time={options.seconds}"),
            *(f"-max_len={SIZE_MAX}", f"-timeout={MOMENT_S}", "-rss_limit_mb=1024"),
            *(f"-runs={options.runs}", "-print_final_stats=1", "-verbosity=1"),
        ]
        atheris.Setup(arguments, one, custom_mutator=mutate)
        atheris.Fuzz()
    return 0


def keep(data: bytes) -> None:
    """Leave the input that broke something for whoever looks into it."""
    name = f"fuzz-archive-{os.getpid()}.vfsa"
    Path(name).write_bytes(data)
    print(f"fuzz: it broke; the archive is {name}")


if __name__ == "__main__":
    sys.exit(main())
