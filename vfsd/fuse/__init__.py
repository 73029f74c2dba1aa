"""The FUSE door: the only package that knows pyfuse3.

session.py mounts and serves; operations.py answers requests; inodes.py and attrs.py speak the
kernel's numbers; invalidation.py tells the kernel what changed by other doors; errors.py makes
every failure an errno; servingloop.py decides when trio gets a turn.
"""

from vfsd.fuse import shim

__all__ = ["shim"]
