"""What vfsd's own code costs per request, without a kernel: `python benchmarks/handlers.py`.

Calls the handlers of a mount that is not mounted, over the memory provider, in one process; so what
is measured is our handlers and the provider, and neither pyfuse3, libfuse nor the kernel. The
least of the rounds, in CPU time: a busy machine hardly shows. To compare two states of the code,
give the other one's checkout: `--against DIR` runs it in turn, round after round.

Concurrency: one process; none of these handlers suspends.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import inprocess
from inprocess import Times

FILES = 3000


def measure() -> Times:
    """Return the CPU microseconds of each handler."""
    from providers.memory import MemoryProvider
    from vfsd.attributes import Identity
    from vfsd.fuse.operations import Operations
    from vfsd.handles import HandleTable
    from vfsd.tree import Tree

    tree = Tree(MemoryProvider())
    serve = Operations(tree, HandleTable())
    tree.subscribe(serve.door)  # as a session does: it is asked whether the kernel keeps a file
    caller: Any = Identity(0, 0, 1)
    names = [b"file-%d" % number for number in range(FILES)]
    found: Times = {}

    def timed(
        kind: str, call: Callable[[Any], Coroutine[Any, Any, Any]], over: Iterable[Any]
    ) -> Any:
        start = time.process_time_ns()
        results = [run(call(each)) for each in over]
        found[kind] = (time.process_time_ns() - start) / len(results) / 1000
        return results

    flags = os.O_WRONLY | os.O_CREAT
    timed("lookup of nothing", lambda name: serve.lookup(1, name, caller), names)
    made = timed("create", lambda name: serve.create(1, name, 0o644, flags, caller), names)
    data = bytes(4096)
    timed("write 4 KiB", lambda each: serve.write(each[0].fh, 0, data), made)
    timed("release", lambda each: serve.release(each[0].fh), made)
    timed("getattr", lambda each: serve.getattr(each[1].st_ino, caller), made)
    timed("lookup", lambda name: serve.lookup(1, name, caller), names)
    opened = timed("open", lambda each: serve.open(each[1].st_ino, os.O_RDONLY, caller), made)
    timed("read 4 KiB", lambda each: serve.read(each.fh, 0, 4096), opened)
    for each in opened:
        run(serve.release(each.fh))
    timed("rename", lambda name: serve.rename(1, name, 1, name + b"-", 0, caller), names)
    timed("unlink", lambda name: serve.unlink(1, name + b"-", caller), names)
    timed("forget", lambda each: serve.forget([(each[1].st_ino, 2)]), made)
    timed("mkdir", lambda name: serve.mkdir(1, name, 0o755, caller), names)
    timed("rmdir", lambda name: serve.rmdir(1, name, caller), names)
    return found


def run(handler: Coroutine[Any, Any, Any]) -> Any:
    """Run a handler that does not suspend to its end."""
    try:
        handler.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("the handler suspended")


if __name__ == "__main__":
    title = "CPU microseconds per call of a handler, the least"
    sys.exit(inprocess.main(__file__, title, "handler", measure))
