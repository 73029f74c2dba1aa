"""The passthrough provider: a real directory, guarded so that nothing leads out.

Reading order: beneath.py (the guard), held.py (open directories), nodes.py (which file is
which), access.py (the way to a file), look.py, making.py, birth.py and changing.py (what is done
on the host), links.py (where symlinks may lead), live.py (edits made on the host), threads.py
(what may block), handle.py (open files), host.py (all of it together), names.py and files.py
(the contract's methods), provider.py (how one is made).
"""

from providers.passthrough.provider import PassthroughProvider

__all__ = ["PassthroughProvider"]
