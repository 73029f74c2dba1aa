"""`make fuzz`: random input with new seeds, until the time is up or something breaks.

Two targets, by turns: the control protocol (frames made, mutated, cut anywhere and parsed: only
its own errors may come out, and how a stream is cut must not matter), and the memory provider
(random operations beside a dict that cannot be wrong, vfsd/conformance/model.py). What broke is
printed with the seed; `--seed` repeats it.

What it is not: the fixed seeds and known bad inputs that `make test` runs every time.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time

from vfsd.control.framing import (
    Cancel,
    Failure,
    FrameError,
    FrameReader,
    Message,
    Part,
    Request,
    Result,
    decode_body,
    encode_frame,
)
from vfsd.control.protocol import VERBS
from vfsd.control.validation import ParameterError, describe, parse

FRAMES_PER_SEED = 2_000
MODEL_STEPS = 2_000


def main() -> int:
    """Run until the time is up; 1 if something broke."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="only this seed")
    options = parser.parse_args()
    if options.seed is not None:
        return round_of(options.seed)
    end = time.monotonic() + options.seconds
    rounds = 0
    while time.monotonic() < end:
        seed = random.SystemRandom().getrandbits(32)
        if round_of(seed):
            return 1
        rounds += 1
    print(f"fuzz: {rounds} seeds, nothing broke")
    return 0


def round_of(seed: int) -> int:
    """Run both targets with one seed; 1 if something broke."""
    try:
        fuzz_frames(random.Random(seed))
    except Exception:
        print(f"fuzz: the control protocol broke; repeat with: scripts/fuzz.py --seed {seed}")
        raise
    model = [sys.executable, "-m", "vfsd.conformance", "providers.memory:MemoryProvider"]
    return subprocess.run([*model, "--seed", str(seed), "--steps", str(MODEL_STEPS)]).returncode


def fuzz_frames(chance: random.Random) -> None:
    """Send mutated frames through the reader and the parser."""
    for _ in range(FRAMES_PER_SEED):
        message = any_message(chance)
        frame = encode_frame(message)
        if decode_body(frame[4:]) != message:
            raise AssertionError(f"not what was encoded: {message}")
        stream = bytearray(frame + encode_frame(any_message(chance)))
        for _ in range(chance.randrange(4)):
            mutate(chance, stream)
        whole = outcomes(chance, bytes(stream), cuts=0)
        if outcomes(chance, bytes(stream), cuts=5) != whole:
            raise AssertionError(f"how it is cut changes what is read: {bytes(stream)!r}")


def outcomes(chance: random.Random, stream: bytes, cuts: int) -> list[str]:
    """Return what a daemon would make of the stream when it arrives in `cuts` + 1 pieces."""
    reader = FrameReader()
    seen: list[str] = []
    edges = sorted(chance.randrange(len(stream) + 1) for _ in range(cuts)) if stream else []
    for start, end in zip([0, *edges], [*edges, len(stream)], strict=True):
        reader.feed(stream[start:end])
        while True:
            try:
                seen.extend(map(outcome, reader.bodies()))
                break
            except FrameError as error:
                seen.append(error.text)
                if error.fatal:
                    return seen
    return seen


def outcome(body: bytes) -> str:
    """Return a body's message or verb, or the error that the peer would be told."""
    try:
        message = decode_body(body)
        if isinstance(message, Request):
            return repr(parse(message.verb, message.parameters))
        return repr(message)
    except (FrameError, ParameterError) as error:
        return str(error)


def any_message(chance: random.Random) -> Message:
    """Make a well-formed message; requests hold a real verb with parameters of any kind."""
    number = chance.choice((0, 1, 255, 65_536, (1 << 63) - 1))
    match chance.randrange(8):
        case 0:
            return Result(number, any_value(chance))
        case 1:
            return Part(number, any_value(chance))
        case 2:
            return Failure(number, 2, "no such file", 5, chance.choice((None, b"\xff")))
        case 3:
            return Cancel(number)
    verb = chance.choice(sorted(VERBS))
    keys = [key for key, _, required in describe(VERBS[verb]) if required or chance.random() < 0.5]
    return Request(number, verb, {key: any_value(chance) for key in keys})


def any_value(chance: random.Random, depth: int = 0) -> object:
    """Make a value of any kind that a message can hold."""
    kind = chance.randrange(9 if depth < 3 else 7)
    if kind == 7:
        return [any_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 8:
        return {str(n): any_value(chance, depth + 1) for n in range(chance.randrange(3))}
    simple: tuple[object, ...] = (
        None,
        chance.random() < 0.5,
        chance.choice((-1, 0, 1, 0x4000_0000, (1 << 64) - 1, -(1 << 63))),
        chance.random(),
        chance.choice(("", "memory", "a/../b", "\0", "é" * 300)),
        chance.choice((b"", b"/a", b"/a/../..", b"\xff\0", b"n" * 5_000)),
        b"x" * chance.randrange(100),
    )
    return simple[kind]


def mutate(chance: random.Random, stream: bytearray) -> None:
    """Change, drop, insert or repeat some bytes in place."""
    if not stream:
        return
    start = chance.randrange(len(stream))
    end = min(len(stream), start + chance.choice((1, 1, 2, 4, 16)))
    match chance.randrange(4):
        case 0:
            stream[start] = chance.choice((0, 1, 0x7F, 0x80, 0xC1, 0xDD, 0xDF, 0xFF))
        case 1:
            del stream[start:end]
        case 2:
            stream[start:start] = chance.randbytes(end - start)
        case 3:
            stream[start:start] = stream[start:end]


if __name__ == "__main__":
    sys.exit(main())
