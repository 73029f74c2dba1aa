"""A mount for as long as a `with` block: for tests and scripts.

    with vfsd.mount("./project", attach={"scratch": "memory"}) as mounted:
        subprocess.run(["make"], cwd=mounted.path)
        mounted.client.read_bytes("scratch/log")

The daemon is a process of its own, started by `vfsd mount`, so that a program that blocks on
its own mount cannot lock itself up. It ends with the block, and also if the program that opened
it is killed: a guard process waits for the end of a pipe that only that program holds.

What it is *not*: the command line's mounts, which outlive who made them (vfsd/cli/mount.py), or
the client (vfsd/client.py).

Concurrency: blocking calls; a `Mount` may be shared by threads as its client may. A program that
forks without exec hands the pipe on: the guard then waits for those children as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from vfsd import client
from vfsd.control.calls import AnyPath
from vfsd.control.replies import Attached, SnapshotInfo
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode, code_of

GUARD = 'read -r _ && exit; "$1" -P -m vfsd unmount --lazy -- "$2"; [ -z "$3" ] || rmdir -- "$2"'
"""A line in the pipe says that all is unmounted; its end without one, that nobody will do it."""


class Mount:
    """A mount that `mount` made. `path` is where it is, `client` is connected to its daemon."""

    def __init__(self, path: Path, connected: client.Client) -> None:
        self.path = path
        self.client = connected

    def attach(
        self,
        source: AnyPath,
        prefix: AnyPath,
        options: Mapping[str, str] | None = None,
        *,
        read_only: bool = False,
    ) -> Attached:
        """Attach a provider below the mount: see `vfsd.client.Client.attach`."""
        return self.client.attach(_source(source), prefix, options, read_only=read_only)

    def snapshot(self, name: str, prefix: AnyPath = "", *, replace: bool = False) -> SnapshotInfo:
        """Freeze what is attached at `prefix` under a name, for as long as the mount is there.

        UserError if the name is taken (unless `replace`) or the tree cannot be frozen.
        """
        return self.client.snapshots.create(name, prefix, replace=replace)

    def fork(self, name: str, at: AnyPath) -> Path:
        """Attach a writable tree that begins as the snapshot `name` at `at`; return where it is.

        UserError (NOT_FOUND) if there is no such snapshot.
        """
        self.client.snapshots.fork(name, at)
        return self.path / os.fsdecode(at).lstrip("/")


@contextmanager
def mount(
    source: AnyPath = "memory",
    directory: AnyPath | None = None,
    *,
    options: Mapping[str, str] | None = None,
    attach: Mapping[str, AnyPath] | None = None,
    read_only: bool = False,
    arguments: Sequence[str] = (),
) -> Iterator[Mount]:
    """Mount `source` at an empty directory, or at a temporary one, and unmount at the end.

    `source` and what `attach` has at each prefix are as on the command line: a provider's name,
    ``name:source``, or a path. `options` are the provider's; `arguments` are further ones of
    `vfsd mount`. UserError with its exit code where that fails. What is still in use at the end
    is unmounted all the same, with a ResourceWarning.
    """
    with ExitStack() as stack:
        if directory is None:
            made = tempfile.mkdtemp(prefix="vfsd-mount-")
            stack.callback(_remove, made)
        else:
            made = ""
        path = os.path.realpath(os.fsdecode(directory if directory is not None else made))
        words = [*(f"-o{key}={value}" for key, value in (options or {}).items()), *arguments]
        if read_only:
            words.append("--read-only")
        # Before it is mounted where nobody else can have mounted; else once the mount is ours.
        if made:
            _ensure_end(stack, path, is_ours=True)
        _vfsd("mount", *words, "--", path, os.fsdecode(_source(source)))
        if not made:
            _ensure_end(stack, path, is_ours=False)
        connected = stack.enter_context(client.connect(path))
        mounted = Mount(Path(path), connected)
        for prefix, each in (attach or {}).items():
            mounted.attach(each, prefix)
        yield mounted


def _source(source: AnyPath) -> str | bytes:
    """Return a source as the daemon wants it: it knows nothing of our current directory."""
    if isinstance(source, os.PathLike):
        return os.path.abspath(os.fspath(source))
    text = os.fsdecode(source)
    return os.path.abspath(text) if text.startswith(("./", "../")) or text in (".", "..") else text


def _vfsd(*words: str) -> None:
    """Run a verb. UserError with its sentence and its exit code where it fails."""
    # -P: what lies in the current directory is not ours to import.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "vfsd", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("vfsd: ")
        code = code_of(done.returncode)
        raise UserError(said or f"vfsd {words[0]} ended with {done.returncode}", code)


def _ensure_end(stack: ExitStack, path: str, *, is_ours: bool) -> None:
    # In a session of its own: an interrupt at the terminal must not end it before its work.
    guard = subprocess.Popen(
        ["sh", "-c", GUARD, "sh", sys.executable, path, "yes" if is_ours else ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    stack.callback(_dismiss, guard)
    stack.callback(_unmount, path)


def _dismiss(guard: subprocess.Popen[bytes]) -> None:
    with suppress(BrokenPipeError):
        guard.communicate(b"done\n")
    guard.wait()


def _unmount(path: str) -> None:
    try:
        _vfsd("unmount", "--", path)
    except UserError as error:
        if error.exit_code == ExitCode.NOT_MOUNTED:
            return  # the block did it, or its daemon was stopped
        _vfsd("unmount", "--lazy", "--", path)
        warnings.warn(
            f"{path} was in use when its mount ended, and is unmounted: {error.message}",
            ResourceWarning,
            stacklevel=2,
        )


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.rmdir(path)
