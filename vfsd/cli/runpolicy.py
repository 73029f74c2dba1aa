"""From the words of a `vfsd run` command line to a sandbox's policy.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import fcntl
import os

from vfsd.blocks import ExitStack, closing, suppress
from vfsd.cli.runlimits import teller
from vfsd.cli.runoptions import Given
from vfsd.errors import UserError
from vfsd.nearest import meant
from vfsd.sandbox.bases import WORK, Base, check_shown, default_base, directory_base
from vfsd.sandbox.runs import remove
from vfsd.sandbox.seccomp import options as seccomp_options
from vfsd.sandbox.spec import Bind, Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT_SHOWN_AS = 1000
"""The uid and gid that root has inside: tools that are root try chown, which nobody can there."""


ENGINES = ("auto", "kernel", "fuse", "native")


NATIVE_OPTIONS = frozenset(
    {"--engine", "--base", "--chdir", "--env", "--write", "--net", "--quiet"}
)
"""What can be said without a sandbox; anything else would be a promise that is not kept."""


def engine_of(given: Given) -> str:
    """Return the engine's name. UserError for an unknown one, or one that others rule out."""
    engine = given.last("--engine") or "auto"
    if engine not in ENGINES:
        known = ", ".join(ENGINES)
        hint = meant(engine, ENGINES, f"there are {known}")
        raise UserError(f"there is no engine {engine!r}; {hint}")
    if engine == "native":
        for name in given.options:
            if name not in NATIVE_OPTIONS:
                raise UserError(
                    f"the native engine isolates nothing, so it has no sandbox to hold {name};"
                    " leave that out, or take another engine"
                )
    return engine


def base_of(given: Given, directory: str, stack: ExitStack) -> Base:
    """Find what the command works on, and where it is shown.

    What has to be on disk or mounted for it is put into `directory`, until `stack` ends.
    """
    named, files = given.last("--base"), given.last("--files")
    if named is not None and files is not None:
        raise UserError("--base and --files both name what to work on; give one of them")
    if files is not None:
        base = _files(files, directory)
    elif named is None:
        base = default_base()
    elif named.startswith("git+"):
        base = _repository(given, named)
    elif os.path.isfile(named):
        base = _archive(named, directory, stack)
    else:
        base = directory_base(named)
    at = given.last("--at")
    if at is not None:
        base = base.moved(at)
    check_shown(base.shown)
    return base


def layer_place(given: Given, stack: ExitStack) -> str | None:
    """Return the directory that the command line names for the layer, held until `stack` ends.

    UserError where another run works on it.
    """
    name = given.last("--layer")
    if name is None:
        return None
    if given.has("--write"):
        raise UserError("--write works without a layer; leave --layer out")
    place = os.path.realpath(name)
    with suppress(FileExistsError):
        os.mkdir(place, 0o700)
    lock = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another run works on the layer in {place}; wait for its end") from None
    # What the kernel left there marks a layer that was not unmounted in order.
    remove(os.path.join(place, "work"), os.stat(place).st_dev)
    return place


def _files(name: str, directory: str) -> Base:
    from vfsd.sandbox.filesmap import write_out

    place = os.path.join(directory, "files")
    os.mkdir(place, 0o755)
    write_out(name, place)
    return Base(f"files:{name}", (place,), WORK, WORK)


def _repository(given: Given, name: str) -> Base:
    from vfsd.sandbox.gitbase import checkout, read

    place = checkout(read(name), teller(given))
    return Base(name, (place,), WORK, WORK)


def _archive(name: str, directory: str, stack: ExitStack) -> Base:
    from vfsd.cli.companion import serve
    from vfsd.sandbox.served import PrivateMount

    path = os.path.realpath(name)
    mountpoint = os.path.join(directory, "base")
    log = os.path.join(directory, "log")
    stack.enter_context(closing(PrivateMount(serve, mountpoint, (f"archive:{path}", {}), log)))
    return Base(path, (mountpoint,), WORK, WORK)


def policy_of(given: Given, base: Base) -> Policy:
    """Return the policy; its base is shown from where an engine will have put it."""
    tools = [os.path.abspath(each) for each in given.all("--path")]
    binds = (
        *(_bind(each, each, writable=False) for each in tools),
        *(_bind(*_split(text), writable=False) for text in given.all("--ro-bind")),
        *(_bind(*_split(text), writable=True) for text in given.all("--bind")),
    )
    for bind in binds:
        _check_target(bind, base)
    root = os.getuid() == 0
    return Policy(
        command=tuple(given.command),
        base=Bind(base.lowers[0], base.shown, writable=True),
        directory=os.path.normpath(os.path.join(base.directory, given.last("--chdir") or "")),
        binds=binds,
        path=tuple(_programs(each) for each in tools),
        environment=_environment(given.all("--env")),
        network="--net" in given.options,
        proxied=given.has("--allow-host"),
        uid=ROOT_SHOWN_AS if root else os.getuid(),
        gid=ROOT_SHOWN_AS if root else os.getgid(),
        more=() if given.has("--no-seccomp") else seccomp_options(),
    )


def _environment(given: Iterable[str]) -> dict[str, str]:
    environment = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not key:
            raise UserError(f"--env {text!r} names no variable; write --env KEY=VALUE")
        if not separator and key not in os.environ:
            raise UserError(f"--env {key}: it is not set here; write --env {key}=VALUE")
        environment[key] = value if separator else os.environ[key]
    return environment


def _split(text: str) -> tuple[str, str]:
    source, separator, target = text.partition(":")
    source = os.path.abspath(source)
    return source, target if separator else source


def _bind(source: str, target: str, *, writable: bool) -> Bind:
    if not os.path.exists(source):
        raise UserError(f"{source} does not exist, so it cannot be shown inside")
    if not target.startswith("/"):
        raise UserError(f"the target {target!r} of a bind must be an absolute path")
    return Bind(source, os.path.normpath(target), writable)


def _check_target(bind: Bind, base: Base) -> None:
    for kept in ("/proc", "/dev"):
        private = f"{bind.target}/".startswith(f"{kept}/")
        if private and not bind.target.startswith("/dev/shm/"):
            raise UserError(f"{kept} is the sandbox's own; bind {bind.source} somewhere else")
    if bind.target.strip("/") == "" or f"{base.shown}/".startswith(f"{bind.target}/"):
        raise UserError(f"{bind.target} would hide the tree; bind {bind.source} somewhere else")
    # bwrap would make a missing target, and so change the tree.
    if f"{bind.target}/".startswith(f"{base.shown}/"):
        inner = bind.target[len(base.shown) :].lstrip("/")
        if not any(os.path.lexists(os.path.join(lower, inner)) for lower in base.lowers):
            raise UserError(f"{bind.target} lies in the tree and does not exist; create it first")


def _programs(directory: str) -> str:
    inner = os.path.join(directory, "bin")
    return inner if os.path.isdir(inner) else directory
