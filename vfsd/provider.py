"""What the author of a provider imports: the contract, its values, and the base by paths.

    from vfsd.provider import Provider, Node, Entry, Stat, Traits     # think in nodes
    from vfsd.provider import PathProvider                            # think in paths

The promises stand in vfsd/contract.py (nodes), vfsd/pathprovider.py (paths) and
vfsd/attributes.py (values). A provider registers as an entry point in the group
``vfsd.providers`` and is checked with `vfsd.conformance`.
"""

from vfsd.attributes import (
    NAME_MAX,
    PATH_MAX,
    Caller,
    FileCopy,
    Identity,
    SetAttr,
    Stat,
    StatFs,
    Traits,
)
from vfsd.contract import (
    NUMBER_LIMIT,
    ROOT_NUMBER,
    Change,
    Entry,
    Handle,
    Keeper,
    Listener,
    Node,
    OpenSource,
    Provider,
)
from vfsd.pathprovider import PathProvider

__all__ = [
    "NAME_MAX",
    "NUMBER_LIMIT",
    "PATH_MAX",
    "ROOT_NUMBER",
    "Caller",
    "Change",
    "Entry",
    "FileCopy",
    "Handle",
    "Identity",
    "Keeper",
    "Listener",
    "Node",
    "OpenSource",
    "PathProvider",
    "Provider",
    "SetAttr",
    "Stat",
    "StatFs",
    "Traits",
]
