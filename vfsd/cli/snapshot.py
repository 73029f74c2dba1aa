"""`vfsd snapshot VERB ...`: find the module of the verb in hand, as vfsd/cli/main.py does.

Concurrency: none; one verb runs.
"""

from __future__ import annotations

from importlib import import_module

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant

VERBS = {
    "create": ("vfsd.cli.freeze", "create", "freeze a tree that is in use, and store it"),
    "ls": ("vfsd.cli.snapshotlist", "list_all", "list snapshots with size, age and origin"),
    "show": ("vfsd.cli.snapshotlist", "show", "tell all about one: layers, base, command, state"),
    "rm": ("vfsd.cli.snapshotcare", "remove_named", "remove snapshots and what only they hold"),
    "mv": ("vfsd.cli.snapshotcare", "rename_named", "give one another name"),
    "export": ("vfsd.cli.exchange", "export_named", "write one as a tar archive or OCI image"),
    "import": ("vfsd.cli.exchange", "import_file", "make one of an archive or an OCI image"),
    "verify": ("vfsd.cli.snapshotcare", "verify_named", "look for damage, in all or in some"),
}
"""For each verb the module, its function of the arguments, and a summary."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd snapshot`."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        rows = [f"  {each:<10}{summary}" for each, (_, _, summary) in VERBS.items()]
        print("\n".join(["usage: vfsd snapshot VERB ...", "", *rows]))
        return ExitCode.OK if arguments else ExitCode.USAGE
    if name not in VERBS:
        hint = meant(name, VERBS, "'vfsd snapshot --help' lists them")
        raise UserError(
            f"there is no verb {name!r} for snapshots; {hint}",
            ExitCode.USAGE,
        )
    module, function, _ = VERBS[name]
    return int(getattr(import_module(module), function)(arguments[1:]))
