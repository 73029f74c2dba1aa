"""Which directory a command's project is, seen from where the command starts.

The rule, in this order, looking upwards from the current directory:

1. the nearest directory with a version control's own (``.git``, ``.hg``, ``.jj``, ``.svn``);
2. else the nearest with a file that says that it holds several projects;
3. else the nearest with a project's file, of any language;
4. else the current directory itself.

The look stops at what no project is: the home directory and all above it, a directory that
everybody may write to (where somebody else could place such a file), one that belongs neither
to this user nor to root, and the end of the file system.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import os
import stat

VERSIONED = frozenset({".git", ".hg", ".jj", ".svn"})
SEVERAL = frozenset(
    {"pnpm-workspace.yaml", "lerna.json", "nx.json", "turbo.json", "rush.json", "go.work"}
)
PROJECT = frozenset(
    {
        *("package.json", "deno.json", "pyproject.toml", "setup.py", "setup.cfg", "Pipfile"),
        *("requirements.txt", "Cargo.toml", "go.mod", "pom.xml", "build.gradle"),
        *("build.gradle.kts", "Gemfile", "composer.json", "mix.exs", "CMakeLists.txt"),
        *("meson.build", "configure.ac", "Makefile", "build.zig", "stack.yaml", "Package.swift"),
        "dune-project",
    }
)


def project_root(directory: str) -> str:
    """Return the project that the absolute `directory` lies in, else `directory` itself."""
    several = project = None
    for path, names in _upwards(directory):
        if names & VERSIONED:
            return path
        several = several or (path if names & SEVERAL else None)
        project = project or (path if names & PROJECT else None)
    return several or project or directory


def holds_home(directory: str) -> bool:
    """Say whether `directory` is a home directory of this user's or one above it."""
    return any(f"{home}/".startswith(directory.rstrip("/") + "/") for home in homes())


def homes() -> set[str]:
    """Return this user's home directories: as the environment and as the machine has it."""
    named = {os.path.expanduser("~"), os.environ.get("HOME", "")}
    if os.geteuid() == 0:
        named.add("/root")
    return {os.path.realpath(each) for each in named if each.startswith("/") and each != "/"}


def _upwards(directory: str) -> list[tuple[str, set[str]]]:
    """Return the directories that may be a project, the innermost first, with their names."""
    found = []
    device = os.stat(directory).st_dev
    path = directory
    while path != "/" and not holds_home(path):
        status = os.stat(path)
        foreign = status.st_uid not in (0, os.geteuid())
        if status.st_dev != device or foreign or status.st_mode & stat.S_IWOTH:
            break
        try:
            found.append((path, set(os.listdir(path))))
        except OSError:
            break
        path = os.path.dirname(path)
    return found
