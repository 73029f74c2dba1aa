"""From a checked verb to what it does: the verbs on the daemon and its tree, and the table.

Verbs on snapshots live in snapshotting.py, those on files in looking.py, changing.py,
placing.py, putting.py, removing.py and openwork.py; each is a function of (work, verb) that
returns a plain value for the wire.

What it is *not*: sockets and connections (server.py).

Concurrency: a request runs in its own task; a mutation is answered once every door shows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import cast

from vfsd.control import (
    changing,
    looking,
    metering,
    openwork,
    placing,
    putting,
    removing,
    snapshotting,
    watching,
)
from vfsd.control.protocol import VERBS, Attach, Detach, Status, Stop
from vfsd.control.verb import Verb
from vfsd.control.work import Work

Handler = Callable[[Work, Verb], Awaitable[object]]


async def perform(work: Work, verb: Verb) -> object:
    """Do what `verb` asks and return its value, once all doors show what changed.

    Raises OSError or UserError; what changed before it is shown by then as well.
    """
    try:
        value = await HANDLERS[type(verb)](work, verb)
    except OSError:
        await work.edits.settle()
        raise
    await work.edits.settle()
    return value


async def status(work: Work, verb: Status) -> object:
    # Text, because names may hold bytes that are no UTF-8, which JSON can carry escaped.
    return json.dumps(work.host.status())


async def stop(work: Work, verb: Stop) -> object:
    # The server calls the host once this is answered: see server.py.
    return None


async def attach(work: Work, verb: Attach) -> object:
    source = os.fsdecode(verb.source)
    options = {os.fsdecode(key): os.fsdecode(value) for key, value in verb.options.items()}
    attachment = await work.host.attach(
        verb.prefix, source, options, work.caller, read_only=verb.read_only
    )
    return snapshotting.describe(attachment)


async def detach(work: Work, verb: Detach) -> object:
    await work.host.detach(verb.prefix, lazy=verb.lazy)
    return None


_BY_NAME = {
    "status": status,
    "stop": stop,
    "attach": attach,
    "detach": detach,
    "snapshot": snapshotting.snapshot,
    "fork": snapshotting.fork,
    "snapshot_create": snapshotting.create,
    "snapshot_store": snapshotting.store,
    "snapshot_list": snapshotting.list_,
    "snapshot_show": snapshotting.show,
    "snapshot_remove": snapshotting.remove,
    "snapshot_attach": snapshotting.attach,
    "snapshot_fork": snapshotting.fork_named,
    "watch": watching.watch,
    "top": metering.top,
    "stat": looking.stat,
    "list": looking.list_directory,
    "readlink": looking.readlink,
    "statfs": looking.statfs,
    "read_file": looking.read_file,
    "write_file": placing.write_file,
    "open": openwork.open_,
    "stage": placing.stage,
    "commit": placing.commit,
    "read": openwork.read,
    "write": openwork.write,
    "fstat": openwork.fstat,
    "ftruncate": openwork.ftruncate,
    "fsync": openwork.fsync,
    "close": openwork.close,
    "mkdir": changing.mkdir,
    "mknod": changing.mknod,
    "symlink": changing.symlink,
    "link": changing.link,
    "unlink": changing.unlink,
    "rmdir": changing.rmdir,
    "remove_tree": removing.remove_tree,
    "rename": changing.rename,
    "setattr": changing.setattr_,
    "truncate": changing.truncate,
    "getxattr": looking.getxattr,
    "listxattr": looking.listxattr,
    "setxattr": changing.setxattr,
    "removexattr": changing.removexattr,
    "put": putting.put,
    "fetch": looking.fetch,
}

HANDLERS: dict[type[Verb], Handler] = {
    # Each handler takes its own verb's class, which the key says and the type cannot.
    VERBS[name]: cast(Handler, handler)
    for name, handler in _BY_NAME.items()
}
