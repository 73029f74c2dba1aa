"""The control socket: the protocol (framing, protocol), the server, and what clients share.

framing.py and protocol.py say what crosses the wire; server.py and service.py are the daemon's
side; calls.py, sending.py and receiving.py are what vfsd.client and vfsd.aclient share. Only
the daemon's side imports trio. docs/CONTROL.md describes the protocol.
"""
