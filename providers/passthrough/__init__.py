"""The passthrough provider: a real directory, guarded so that nothing leads out.

Reading order: beneath.py (the guard), held.py (open directories), nodes.py (which file is
which), host.py (the parts together), look.py, making.py, removing.py and changing.py (what is
done on the host), links.py (where symlinks may lead), live.py (edits made on the host),
threads.py (what may block), handle.py (open files), provider.py (the contract).
"""

from providers.passthrough.provider import PassthroughProvider

__all__ = ["PassthroughProvider"]
