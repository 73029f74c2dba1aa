"""vfsd: trees of providers over FUSE, and sandboxes on them.

    import vfsd

    with vfsd.mount() as mounted:                       # a daemon and a mount, for as long as this
        (mounted.path / "greeting").write_text("hello")
        mounted.snapshot("clean")

`mount`, `connect` and `Sandbox` are what most programs need; docs/PYTHON.md shows them all. Each
name is imported when it is first used, so that the command line does not pay for it.

What it is *not*: the place where anything is done; see the modules that the names come from.
"""

TYPE_CHECKING = False  # typing itself would be imported by every `vfsd run`
if TYPE_CHECKING:
    from vfsd import abox, aclient, box, client, conformance, provider
    from vfsd.box import Sandbox
    from vfsd.client import Client, connect
    from vfsd.errors import UserError
    from vfsd.exitcodes import ExitCode
    from vfsd.mounting import Mount, mount
    from vfsd.version import __version__

__all__ = [
    "Client",
    "ExitCode",
    "Mount",
    "Sandbox",
    "UserError",
    "__version__",
    "abox",
    "aclient",
    "box",
    "client",
    "conformance",
    "connect",
    "mount",
    "provider",
]

_MODULES = {"abox", "aclient", "box", "client", "conformance", "provider"}
_HOMES = {
    "Client": "vfsd.client",
    "ExitCode": "vfsd.exitcodes",
    "Mount": "vfsd.mounting",
    "Sandbox": "vfsd.box",
    "UserError": "vfsd.errors",
    "__version__": "vfsd.version",
    "connect": "vfsd.client",
    "mount": "vfsd.mounting",
}

if not TYPE_CHECKING:  # for a type checker any misspelt name would exist

    def __getattr__(name):  # noqa: ANN001, ANN202
        # Also asked for each module by `from vfsd import ...`, before it is imported.
        if name not in _MODULES and name not in _HOMES:
            raise AttributeError(f"module 'vfsd' has no attribute {name!r}")
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"vfsd.{name}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value

    def __dir__():  # noqa: ANN202
        return sorted({*globals(), *__all__})
