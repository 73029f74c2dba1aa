"""The fixtures of the control socket's tests: a daemon in a thread, a client of it."""

from tests.control.conftest import client, daemon, runtime_directory

__all__ = ["client", "daemon", "runtime_directory"]
