"""The overlay provider: one writable upper over any number of lowers, each any provider.

Reading order: marks.py (whiteouts and opaque directories, as the kernel's overlayfs has them),
layers.py, nodes.py (which file is which), union.py (the parts together), search.py (what the
lowers have) and merge.py (what a name stands for), upper.py and copyup.py (bringing things up),
making.py, removing.py, renaming.py, changing.py, hardlinks.py, partial.py (large files, range by
range), handle.py (open files), versions.py (seal, snapshot, fork), storing.py, changes.py (lowers
that change), assembling.py, provider.py (the contract).
"""

from providers.overlay.provider import OverlayProvider

__all__ = ["OverlayProvider"]
