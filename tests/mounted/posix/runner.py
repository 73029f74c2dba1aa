"""Runs cases on request, each in a forked process: ``python -m tests.mounted.posix.runner``.

Reads lines ``NAME<TAB>DIRECTORY`` from stdin and answers each with one line of JSON:
``{"seen": observation}`` or ``{"failure": traceback}``. A process of its own, because cases
change the working directory, the umask and the user, and fork.
"""

import json
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path

from tests.mounted.posix.observe import CASES

TIMEOUT_SECONDS = 60
AREAS = (
    "attributes",
    "data",
    "directories",
    "links",
    "locks",
    "mapping",
    "names",
    "opening",
    "permissions",
    "removal",
    "renaming",
    "space",
    "special",
    "times",
    "walks",
    "xattrs",
)

for _area in AREAS:
    import_module(f"tests.mounted.posix.{_area}")


def main():
    for line in sys.stdin.buffer:
        name, _, directory = line.rstrip(b"\n").decode().partition("\t")
        sys.stdout.write(_answer(name, directory) + "\n")
        sys.stdout.flush()


def _answer(name, directory):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(_perform(name, directory))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return answer or json.dumps({"failure": f"the case ended with wait status {status}"})


def _perform(name, directory):
    signal.alarm(TIMEOUT_SECONDS)
    try:
        os.umask(0o022)
        os.chdir(directory)
        return json.dumps({"seen": CASES[name](Path(directory))}).encode()
    except BaseException:
        return json.dumps({"failure": traceback.format_exc()}).encode()


if __name__ == "__main__":
    main()
