"""What this machine can do, found out by trying, and the one command that mends each gap.

Nothing is concluded from a version or a setting where the thing itself can be tried: a user
namespace is made, bwrap runs a sandbox, overlayfs is mounted. Settings are read afterwards only,
to say why it did not work.

What it is *not*: the printing (vfsd/cli/doctor.py), or a part of `vfsd run`, which tries what
it needs by doing it.

Concurrency: blocking; each probe ends within `PROBE_S`. Leaves nothing behind: what is mounted
is mounted in a namespace that ends with the probe.

Sources: user_namespaces(7); namespaces(7), /proc/sys/user; Linux overlayfs.rst, "User xattr";
fusermount3(1).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata

from vfsd.errors import UserError
from vfsd.sandbox.gaps import (
    PROBE_S,
    SETTINGS,
    Finding,
    Gap,
    as_root,
    attempt,
    find,
    install,
    setting,
    upgrade,
    version,
)
from vfsd.sandbox.host import look_at_root
from vfsd.sandbox.probeclosed import control_groups, filters, tmpfs_xattrs
from vfsd.sandbox.probestore import store
from vfsd.sandbox.seccomp import options as seccomp_options
from vfsd.sandbox.spawning import OptionFiles
from vfsd.sandbox.spec import LIMITER, STARTER, Argument, Bind, Policy, render, starting

KERNEL_NEEDED = (5, 11)
"""The first that mounts overlayfs in a user namespace; pidfds came earlier."""
BWRAP_NEEDED = (0, 8)
"""The first with --disable-userns."""

MOUNTED = "/etc/mtab"
"""Where fusermount3 looks up whose mount it is to unmount."""

FITS = """
import pyfuse3, trio
from vfsd.fuse.servingloop import install
from vfsd.fuse.triointernals import bind
async def look():
    bind()
trio.run(look)
raise SystemExit(install(pyfuse3) is None)
"""
"""Fails, in a process of its own, where the fast serving loop does not suit trio and pyfuse3."""


def findings() -> Iterator[Finding]:
    """Probe this machine, one thing after the other."""
    for name, needed, probe in PROBES:
        yield find(name, needed, probe)


def _kernel() -> str:
    release = os.uname().release
    if version(release) < KERNEL_NEEDED:
        needed = ".".join(map(str, KERNEL_NEEDED))
        raise Gap(f"{release}, older than {needed}", as_root(upgrade()))
    return release


def _packages() -> str:
    found = []
    for requirement in _requirements():
        if ";" in requirement:
            continue  # of an extra
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        fetch = shlex.join([sys.executable, "-m", "pip", "install", requirement])
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            raise Gap(f"{name} is not installed", fetch) from None
        # In a process of its own: this one must not load a library that is broken.
        tried = attempt([sys.executable, "-c", f"import {name}"])
        if tried:
            again = shlex.join(
                [sys.executable, "-m", "pip", "install", "--force-reinstall", requirement]
            )
            raise Gap(f"{name} cannot be imported: {tried}", again)
    return ", ".join(found)


def _requirements() -> list[str]:
    try:
        return metadata.requires("vfsd") or []
    except metadata.PackageNotFoundError:  # run from a checkout that was not installed
        return ["pyfuse3", "trio", "msgpack", "xxhash", "rich"]


def _serving_loop() -> str:
    tried = attempt([sys.executable, "-c", FITS])
    if tried:
        asked = [each for each in _requirements() if each.startswith(("pyfuse3", "trio"))]
        remedy = shlex.join([sys.executable, "-m", "pip", "install", *asked])
        raise Gap(f"mounts are served by pyfuse3's own, slower one: {tried}", remedy)
    return "the fast one suits this trio and pyfuse3"


def device(path: str = "/dev/fuse") -> str:
    """Open the device as a mount does."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise Gap("there is none", as_root("modprobe fuse")) from None
    except PermissionError:
        raise Gap("this user may not open it", as_root(f"chmod 0666 {path}")) from None
    except OSError as error:
        # A device node whose driver is not there.
        raise Gap(f"cannot be opened: {error.strerror}", as_root("modprobe fuse")) from None
    return "can be opened"


def _fusermount() -> str:
    path = shutil.which("fusermount3")
    if path is None:
        raise Gap("missing", install("fuse3"))
    status = os.stat(path)
    if os.geteuid() != 0 and not (status.st_uid == 0 and status.st_mode & 0o4000):
        raise Gap(f"{path} is not setuid root", as_root(f"chmod u+s {path}"))
    if os.geteuid() != 0 and not os.path.exists(MOUNTED):
        # A container or a new root without an init system may have none.
        raise Gap(
            f"it will unmount nothing for this user, since {MOUNTED} is missing",
            as_root(f"ln -s /proc/self/mounts {MOUNTED}"),
        )
    return path


def _bwrap() -> str:
    path = shutil.which("bwrap")
    if path is None:
        raise Gap("missing", install("bubblewrap"))
    done = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=PROBE_S, check=False
    )
    told = done.stdout.strip()
    if done.returncode or version(told) < BWRAP_NEEDED:
        needed = ".".join(map(str, BWRAP_NEEDED))
        shown = told or done.stderr.strip()
        raise Gap(f"{path} is not bubblewrap {needed} or newer: {shown}", install("bubblewrap"))
    return f"{path}, {told}"


def _starters() -> str:
    for path in (STARTER, LIMITER):
        if not os.access(path, os.X_OK):
            raise Gap(f"{path} is missing", install("util-linux"))
    return f"{STARTER}, {LIMITER}"


def _user_namespace() -> str:
    tried = attempt(["unshare", "--user", "--map-root-user", "true"])
    if not tried:
        return "can be made"
    raise Gap(f"cannot be made: {tried}", as_root(f"sysctl -w {forbidding_setting(tried)}"))


def forbidding_setting(complaint: str, settings: str = SETTINGS) -> str:
    """Return the assignment for sysctl that ends what the `complaint` was about."""
    switches = (
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    )
    for name, forbidding, allowing in switches:
        if setting(name, settings) == forbidding and "space" not in complaint:
            return f"{name}={allowing}"
    return "user.max_user_namespaces=15000"


def _sandbox() -> str:
    path = shutil.which("bwrap")
    if path is None:
        raise Gap("bwrap is missing", install("bubblewrap"))
    with tempfile.TemporaryDirectory() as base:
        # The filters have a probe of their own.
        more: tuple[Argument, ...] = ()
        with suppress(UserError):
            more = seccomp_options()
        policy = Policy(("true",), Bind(base, base, writable=True), base, more=more)
        with OptionFiles(render(policy, look_at_root(), {})) as (words, fds):
            tried = attempt([path, *words, "--", *starting(policy)[1:]], fds)
    if not tried:
        return "a sandbox with all that it closes ran"
    if attempt(["unshare", "--user", "--map-root-user", "true"]):
        raise Gap(tried, as_root(f"sysctl -w {forbidding_setting(tried)}"))
    if setting("kernel.apparmor_restrict_unprivileged_userns") == "1":
        remedy = as_root("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
        raise Gap(tried, remedy)
    raise Gap(tried, install("bubblewrap"))


def _overlay() -> str:
    script = (
        'mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir lower upper work merged && >lower/a &&'
        " mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr none merged &&"
        " rm merged/a && test -c upper/a"
    )
    with tempfile.TemporaryDirectory() as place:
        make = ["unshare", "--user", "--map-root-user", "--mount"]
        tried = attempt([*make, "sh", "-c", script, "sh", place])
    if not tried:
        return "can be mounted in a user namespace, on tmpfs"
    with open("/proc/filesystems") as known:
        loaded = "overlay" in known.read().split()
    raise Gap(tried, as_root(upgrade() if loaded else "modprobe overlay"))


def allow_other(path: str = "/etc/fuse.conf") -> str:
    """Read what fusermount3 reads."""
    try:
        with open(path) as conf:
            allowed = any(line.strip() == "user_allow_other" for line in conf)
    except OSError:
        allowed = False
    if not allowed:
        remedy = as_root(f"sh -c 'echo user_allow_other >> {path}'")
        raise Gap("users other than root may not mount with --allow-other", remedy)
    return "every user may mount with --allow-other"


PROBES: tuple[tuple[str, bool, Callable[[], str]], ...] = (
    ("kernel", True, _kernel),
    ("python packages", True, _packages),
    ("serving loop", False, _serving_loop),
    ("/dev/fuse", True, device),
    ("fusermount3", True, _fusermount),
    ("bwrap", True, _bwrap),
    ("setsid, prlimit", True, _starters),
    ("user namespace", True, _user_namespace),
    ("system calls", True, filters),
    ("sandbox", True, _sandbox),
    ("overlayfs", False, _overlay),
    ("tmpfs xattrs", False, tmpfs_xattrs),
    ("snapshots", False, store),
    ("control groups", False, control_groups),
    ("user_allow_other", False, allow_other),
)
