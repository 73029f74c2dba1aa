"""A client of a mount; run as a program by the serving loop's tests.

`loopclient.py churn DIRECTORY SEED COUNT` makes, fills, reads back, lists and removes files in
a directory of its own and fails if anything is not as it wrote it. `loopclient.py pester
DIRECTORY` asks for a name that is not there until it is killed.
"""

from __future__ import annotations

import os
import random
import sys


def churn(directory: str, seed: int, count: int) -> None:
    choice = random.Random(seed)
    own = f"{directory}/{seed}"
    os.mkdir(own)
    held: dict[str, bytes] = {}
    for number in range(count):
        name = f"file{number}"
        data = choice.randbytes(choice.choice([0, 1, 5000, 200_000]))
        with open(f"{own}/{name}", "xb") as file:
            file.write(data)
        held[name] = data
        name = choice.choice(sorted(held))
        with open(f"{own}/{name}", "rb") as file:
            assert file.read() == held[name], name
        if choice.random() < 0.6:
            os.unlink(f"{own}/{name}")
            del held[name]
            assert not os.path.exists(f"{own}/{name}")
        assert sorted(os.listdir(own)) == sorted(held)
    for name in held:
        os.unlink(f"{own}/{name}")
    os.rmdir(own)


def pester(directory: str) -> None:
    while True:
        assert not os.path.exists(f"{directory}/absent")


if sys.argv[1] == "churn":
    churn(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    pester(sys.argv[2])
