"""Files of a web server through a mount: vfsd's fsspec provider beside `rclone mount`, in one run.

    python benchmarks/remote.py

`rclone serve http` serves a directory on this machine; each system mounts it anew for every round.
*Cold* is a fresh mount; *warm* the same again. Besides the time, the CPU time of the process that
serves the mount. Also fsspec itself, reading in the program's own process without a mount. fsspec's
own FUSE face (fsspec.fuse) takes no part: it cannot tell the attributes of a web server's root, so
that nothing lists it.

What it is not: a measure of networks; a local server answers at once.

Concurrency: one mount at a time; nothing else is timed beside it.
Sources: rclone(1), "rclone mount", "rclone serve http".
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import machine

REPOSITORY = Path(__file__).resolve().parent.parent
WAIT_S = 30.0
BIG_BYTES = 64 << 20
SMALL_FILES = 200
RANDOM_READS = 300

CLIENT = r"""
import json, os, random, sys, time
top = sys.argv[1]
rows, clock = {}, time.perf_counter
def timed(row, do):
    start = clock()
    do()
    rows[row] = clock() - start
def sequential():
    with open(f"{top}/big", "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
def scattered():
    fd = os.open(f"{top}/other", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    size = os.fstat(fd).st_size
    for offset in random.Random(5).sample(range(size // 4096), int(sys.argv[2])):
        os.pread(fd, 4096, offset * 4096)
    os.close(fd)
def small():
    for name in sorted(os.listdir(f"{top}/small")):
        with open(f"{top}/small/{name}", "rb") as file:
            file.read()
for state in ("cold", "warm"):
    timed(f"read 64 MiB in order, {state}", sequential)
    timed(f"random reads of 4 KiB, {state}", scattered)
    timed(f"list and read 200 small files, {state}", small)
print(json.dumps(rows))
"""

DIRECT = r"""
import json, random, sys, time
import fsspec
url, clock, rows = sys.argv[1], time.perf_counter, {}
files = fsspec.filesystem("http")
start = clock()
with files.open(url + "big", "rb") as file:
    while file.read(1 << 20):
        pass
rows["read 64 MiB in order, cold"] = clock() - start
print(json.dumps(rows))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: object) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("remote.py: a server or a mount did not come up")
        time.sleep(0.02)


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory by HTTP and give its URL."""
    port = free_port()
    server = subprocess.Popen(
        ["rclone", "serve", "http", directory, "--addr", f"127.0.0.1:{port}", "--read-only"],
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


def rclone(url: str, mode: str) -> list[str]:
    """Return the arguments of `rclone mount`, but for the mountpoint."""
    return ["rclone", "mount", ":http:", "--http-url", url, "--vfs-cache-mode", mode, "--read-only"]


@contextmanager
def mounted(words: list[str], point: Path, environment: dict[str, str]) -> Iterator[int]:
    """Mount and give the process id of what serves it."""
    daemon = subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: os.path.ismount(point))
        yield daemon.pid
    finally:
        subprocess.run(["fusermount3", "-u", "-z", point], check=True)
        daemon.wait(WAIT_S)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process took so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_round(words: list[str], place: Path, environment: dict[str, str]) -> dict[str, float]:
    point = place / "mount"
    point.mkdir(exist_ok=True)
    with mounted([*words], point, environment) as pid:
        before = cpu_s(pid)
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, point, str(RANDOM_READS)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        rows: dict[str, float] = json.loads(done.stdout)
        rows["CPU time of the server, all rows"] = cpu_s(pid) - before
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Web servers' files through a mount.")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if shutil.which("rclone") is None:
        raise SystemExit("remote.py: rclone is missing; install it (apt install rclone)")
    results: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="vfsd-remote-") as name:
        place = Path(name)
        source = place / "source"
        (source / "small").mkdir(parents=True)
        for large in ("big", "other"):
            (source / large).write_bytes(random.Random(1).randbytes(BIG_BYTES))
        for number in range(SMALL_FILES):
            (source / f"small/{number}").write_bytes(random.Random(number).randbytes(8000))
        environment = dict(os.environ)
        for variable in ("RUNTIME_DIR", "STATE_HOME", "CACHE_HOME", "CONFIG_HOME"):
            (place / variable).mkdir(mode=0o700)
            environment[f"XDG_{variable}"] = str(place / variable)
        point = str(place / "mount")
        with served(source) as url:
            vfsd = [sys.executable, "-m", "vfsd", "mount", point, f"fsspec:{url}", "--foreground"]
            systems = {
                "vfsd": vfsd,
                "rclone": [*rclone(url, "off"), point],
                "rclone, files on disk": [*rclone(url, "full"), point],
            }
            for _ in range(given.rounds):
                for system, words in systems.items():
                    results.setdefault(system, []).append(one_round(words, place, environment))
                    shutil.rmtree(place / "CACHE_HOME", ignore_errors=True)
                done = subprocess.run(
                    [sys.executable, "-c", DIRECT, url], capture_output=True, text=True, check=True
                )
                results.setdefault("fsspec, no mount", []).append(json.loads(done.stdout))
    print(machine.describe())
    rows = list(results["vfsd"][0])
    print("| s | " + " | ".join(results) + " |")
    print("|---|" + "---|" * len(results))
    for row in rows:
        found = [
            f"{median(each[row] for each in rounds):.3f}" if row in rounds[0] else ""
            for rounds in results.values()
        ]
        print(f"| {row} | " + " | ".join(found) + " |")


if __name__ == "__main__":
    main()
