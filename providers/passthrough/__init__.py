"""The passthrough provider: a real directory, guarded so that nothing leads out.

Reading order: beneath.py (the guard), nodes.py (which file is which), look.py, making.py and
changing.py (what is done on the host), links.py (where symlinks may lead), threads.py (what
may block), reconcile.py (edits made on the host), provider.py (the contract).
"""

from providers.passthrough.provider import PassthroughProvider

__all__ = ["PassthroughProvider"]
