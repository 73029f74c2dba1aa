"""The memory provider: a complete POSIX tree in memory, with O(1) snapshots and forks.

Reading order: ownership.py (the rule behind sharing), numbermap.py, names.py and content.py
(what is shared), records.py, version.py (one tree), then entries.py, rename.py, setattr.py,
xattrs.py and handle.py (what changes it), items.py, population.py, lazy.py and dynamic.py
(what functions make), room.py and options.py, and provider.py (the contract).
"""

from providers.memory.items import Dynamic, File, Lazy, Subdirectory, Symlink
from providers.memory.provider import MemoryProvider

__all__ = ["Dynamic", "File", "Lazy", "MemoryProvider", "Subdirectory", "Symlink"]
