"""Defaults of `vfsd run` from configuration files, below what the command line says.

Without a file this costs a look at two names; nothing of the reader is imported then.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import os

from vfsd.cli.runlimits import teller
from vfsd.cli.runoptions import Given
from vfsd.configfile.places import PROJECT_FILE, user_file
from vfsd.errors import UserError
from vfsd.sandbox.bases import in_mount
from vfsd.sandbox.mounts import here, served
from vfsd.sandbox.projects import project_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vfsd.configfile.running import Defaults

OPENERS = ("--net", "--publish", "--allow-host")
"""Options that decide about the network: one of them, and the files' word on it is not asked."""

UNSANDBOXED = "native"


def with_defaults(given: Given) -> Given:
    """Return the command line, filled up with what the files say. UserError for a bad file."""
    if given.has("--no-config"):
        return given
    user, project = user_file(), project_file(_start(given))
    if user is None and project is None:
        return given
    from vfsd.configfile import reading, running

    native = given.last("--engine") == UNSANDBOXED
    defaults = running.merged(
        None if user is None else reading.read(user),
        # Without a sandbox a project's word has nothing to be held by.
        None if project is None or native else reading.read(project),
    )
    for refusal in defaults.refused:
        teller(given)(refusal)
    return _filled(given, defaults)


def project_file(directory: str | None) -> str | None:
    """Return the file of the project, or of the mount, that `directory` lies in."""
    if directory is None:
        return None
    directory = os.path.realpath(directory)
    try:
        mounted = in_mount(directory)
        root = served(directory).mountpoint if mounted else project_root(directory)
    except (OSError, UserError):
        return None  # what is wrong with it, the command itself will say
    path = os.path.join(root, PROJECT_FILE)
    return path if os.path.lexists(path) else None


def _start(given: Given) -> str | None:
    """Return the directory whose project is worked on; None if it is none."""
    if given.has("--files") or given.has("--from"):
        return None
    named = given.last("--base")
    if named is None:
        return here()
    return named if os.path.isdir(named) else None


def _filled(given: Given, defaults: Defaults) -> Given:
    from typing import cast

    options = dict(given.options)
    closed = any(map(given.has, OPENERS))
    native = (given.last("--engine") or defaults.values.get("engine")) == UNSANDBOXED
    for key, value in defaults.values.items():
        option = f"--{key}"
        if key == "env":
            # Later ones count, so the command line's stand last.
            options[option] = [*cast("list[str]", value), *given.all(option)]
        elif option in options or (option in OPENERS and closed):
            continue
        elif isinstance(value, list):
            options[option] = value
        elif isinstance(value, bool):
            if value:
                options[option] = []
        else:
            options[option] = [str(value)]
    if native:
        from vfsd.cli.runoptions import LIMITS

        # They are held by a sandbox; what was asked for by hand is refused, not these.
        for limit in LIMITS:
            if not given.has(limit.name):
                options.pop(limit.name, None)
        for opener in OPENERS[1:]:
            if not given.has(opener):
                options.pop(opener, None)
    return given._replace(options=options)
