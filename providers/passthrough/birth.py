"""Making files that belong to somebody else from their first moment.

A file that root makes and gives away afterwards is, for that moment, a name which others may
exchange for something of root's: it would be given away in its stead. So the thread that makes it
takes on the other's ids for the call, as far as new files go (fsuid and fsgid), and keeps its
capabilities: whether the caller may make something there was decided at the door.

What this is *not*: whose a file is to be (making.py).

Concurrency: ids and capabilities are the calling thread's own; nothing is kept between calls.

Sources: setfsuid(2), capabilities(7) "Effect of user ID changes", capset(2).
"""

from __future__ import annotations

import ctypes
import os
import struct
from types import TracebackType
from typing import NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)

ID_LIMIT = (1 << 32) - 1
"""No id; the calls change nothing for it."""

_HEADER = struct.Struct("=Ii")
"""offset size field: 0 4 version, 4 4 pid (struct __user_cap_header_struct)."""

_VERSION_3 = 0x20080522
_DATA_BYTES = 24
"""Two of struct __user_cap_data_struct: effective, permitted and inheritable, 4 bytes each."""


class Owner(NamedTuple):
    """Whose a new file is to be."""

    uid: int
    gid: int


class born_to:
    """What the block makes belongs to `owner`, if this process may see to that.

    None: to this process. Where it cannot be done the file is this process's as ever; the block
    is told.
    """

    __slots__ = ("_away", "_owner")

    def __init__(self, owner: Owner | None) -> None:
        self._owner = owner
        self._away = False

    def __enter__(self) -> bool:
        owner = self._owner
        if owner is None or not (0 <= owner.uid < ID_LIMIT and 0 <= owner.gid < ID_LIMIT):
            return False
        if (owner.uid, owner.gid) == (os.geteuid(), os.getegid()):
            return True
        header = ctypes.create_string_buffer(_HEADER.pack(_VERSION_3, 0), _HEADER.size)
        data = ctypes.create_string_buffer(_DATA_BYTES)
        if _libc.capget(header, data):
            return False
        self._away = True
        _libc.setfsgid(ctypes.c_uint(owner.gid))
        _libc.setfsuid(ctypes.c_uint(owner.uid))
        # The kernel took those of its capabilities that override permissions.
        if _libc.capset(header, data):
            self._return()
        return self._away

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._away:
            self._return()

    def _return(self) -> None:
        self._away = False
        _libc.setfsuid(ctypes.c_uint(os.geteuid()))
        _libc.setfsgid(ctypes.c_uint(os.getegid()))
