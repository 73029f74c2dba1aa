"""What an empty file costs in memory, measured as resident size in a process of its own."""

import subprocess
import sys

FILES = 200_000
LIMIT_BYTES = 600

SCRIPT = """
import gc, os, sys
from providers.memory import MemoryProvider
from vfsd.provider import Identity

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def now(call):
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it suspended")

provider, caller = MemoryProvider(), Identity(1000, 1000)
gc.collect()
before = resident()
for number in range(int(sys.argv[1])):
    if number % 1000 == 0:
        parent = now(provider.mkdir(provider.root, b"directory-%d" % number, 0o755, caller)).node
    name = b"some-file-%06d.txt" % number
    entry, handle = now(provider.create(parent, name, 0o644, os.O_WRONLY, caller))
    now(handle.release())
gc.collect()
print((resident() - before) / int(sys.argv[1]))
"""


def test_an_empty_file_costs_little():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(FILES)], capture_output=True, text=True, check=True
    )
    per_file = float(done.stdout)
    assert 50 < per_file < LIMIT_BYTES
