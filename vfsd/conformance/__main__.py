"""``python -m vfsd.conformance MODULE:NAME``: run the suite without pytest.

NAME is a `Provider` class that is made without arguments and filled through the contract, or
a factory as `vfsd.conformance.Factory` describes. Prints a line per check; the exit code is 0
if none failed, 1 if one did, 2 for wrong arguments.

Concurrency: one check at a time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from importlib import import_module

import trio

from vfsd.conformance.check import EMPTY, Check
from vfsd.conformance.contents import Contents, fill
from vfsd.conformance.files import Files
from vfsd.conformance.model import STEPS, Model
from vfsd.conformance.suite import Conformance, Factory, Status
from vfsd.conformance.table import CHECKS
from vfsd.provider import Provider


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vfsd.conformance", description="Check a provider against the contract."
    )
    parser.add_argument("provider", metavar="MODULE:NAME", help="a provider class or a factory")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="checks whose name matches")
    parser.add_argument(
        "--skip",
        metavar="NAME=REASON",
        action="append",
        default=[],
        help="do not count this check's failure; fails if the check passes",
    )
    parser.add_argument("--seed", type=int, help="only the model test, with this seed")
    parser.add_argument("--steps", type=int, default=STEPS, help="operations of that model test")
    options = parser.parse_args(arguments)
    try:
        factory = factory_of(options.provider)
        suite = Conformance(factory, dict(skip.partition("=")[::2] for skip in options.skip))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        parser.error(str(error))
    if options.seed is not None:
        return trio.run(_model, factory, options.seed, options.steps)
    names = [name for name in CHECKS if fnmatch(name, options.only)]
    if not names:
        parser.error(f"no check's name matches {options.only!r}")
    return trio.run(_run, suite, names)


def factory_of(place: str) -> Factory:
    """Return the factory that ``MODULE:NAME`` stands for.

    ImportError, AttributeError; ValueError without a colon, TypeError for what is neither a
    provider class nor callable.
    """
    module, colon, name = place.partition(":")
    if not colon:
        raise ValueError(f"{place!r} is not of the form MODULE:NAME")
    found = getattr(import_module(module), name)
    if not callable(found):
        raise TypeError(f"{place!r} is neither a provider class nor a factory")
    if not (isinstance(found, type) and issubclass(found, Provider)):
        factory: Factory = found
        return factory
    provider_class = found

    @asynccontextmanager
    async def filled(contents: Contents) -> AsyncIterator[Provider]:
        provider = provider_class()
        try:
            await fill(provider, contents)
            yield provider
        finally:
            await provider.aclose()

    return filled


async def _run(suite: Conformance, names: list[str]) -> int:
    counts = dict.fromkeys(Status, 0)
    for name in names:
        outcome = await suite.run(name)
        counts[outcome.status] += 1
        reason = f": {outcome.reason}" if outcome.reason else ""
        print(f"{outcome.status.value:<15}{CHECKS[name].area}/{name}{reason}", flush=True)
    print(", ".join(f"{count} {status.value}" for status, count in counts.items()))
    return 1 if counts[Status.FAILED] else 0


async def _model(factory: Factory, seed: int, steps: int) -> int:
    async def run(files: Files) -> None:
        await Model(files, seed).run(steps)

    check = Check("model", "model", run, ("writable",), (), EMPTY)
    outcome = await Conformance(factory).run_check(check)
    print(f"{outcome.status.value:<15}model with seed {seed}, {steps} steps {outcome.reason}")
    return 1 if outcome.status is Status.FAILED else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
