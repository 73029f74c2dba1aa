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
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import NamedTuple

from vfsd.sandbox.host import look_at_root
from vfsd.sandbox.spawning import as_fds
from vfsd.sandbox.spec import STARTER, Bind, Policy, render, starting

PROBE_S = 20.0
KERNEL_NEEDED = (5, 11)
"""The first that mounts overlayfs in a user namespace; pidfds came earlier."""
BWRAP_NEEDED = (0, 8)
"""The first with --disable-userns."""
SETTINGS = "/proc/sys"

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


class Finding(NamedTuple):
    """What one probe found."""

    name: str
    works: bool
    detail: str
    """What was found, in a few words."""
    remedy: str = ""
    """The command that mends it; empty where it works."""
    needed: bool = True
    """Whether mounting or running needs it; otherwise vfsd does without."""

    @property
    def status(self) -> str:
        """Return ``ok``, ``missing``, or ``warn`` for a gap that vfsd does without."""
        if self.works:
            return "ok"
        return "missing" if self.needed else "warn"


class _Gap(Exception):
    """A probe failed: what was found, and the command that mends it."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy


def findings() -> Iterator[Finding]:
    """Probe this machine, one thing after the other."""
    for name, needed, probe in PROBES:
        yield find(name, needed, probe)


def find(name: str, needed: bool, probe: Callable[[], str]) -> Finding:
    """Carry out one probe, which returns what it found or raises a gap."""
    try:
        return Finding(name, True, probe(), "", needed)
    except _Gap as gap:
        return Finding(name, False, gap.detail, gap.remedy, needed)


def _kernel() -> str:
    release = os.uname().release
    if _version(release) < KERNEL_NEEDED:
        needed = ".".join(map(str, KERNEL_NEEDED))
        raise _Gap(f"{release}, older than {needed}", _as_root(_upgrade()))
    return release


def _packages() -> str:
    found = []
    for requirement in _requirements():
        if ";" in requirement:
            continue  # of an extra
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        install = shlex.join([sys.executable, "-m", "pip", "install", requirement])
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            raise _Gap(f"{name} is not installed", install) from None
        # In a process of its own: this one must not load a library that is broken.
        tried = _try([sys.executable, "-c", f"import {name}"])
        if tried:
            again = shlex.join(
                [sys.executable, "-m", "pip", "install", "--force-reinstall", requirement]
            )
            raise _Gap(f"{name} cannot be imported: {tried}", again)
    return ", ".join(found)


def _requirements() -> list[str]:
    try:
        return metadata.requires("vfsd") or []
    except metadata.PackageNotFoundError:  # run from a checkout that was not installed
        return ["pyfuse3", "trio", "msgpack", "xxhash", "rich"]


def _serving_loop() -> str:
    tried = _try([sys.executable, "-c", FITS])
    if tried:
        asked = [each for each in _requirements() if each.startswith(("pyfuse3", "trio"))]
        remedy = shlex.join([sys.executable, "-m", "pip", "install", *asked])
        raise _Gap(f"mounts are served by pyfuse3's own, slower one: {tried}", remedy)
    return "the fast one suits this trio and pyfuse3"


def device(path: str = "/dev/fuse") -> str:
    """Open the device as a mount does."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise _Gap("there is none", _as_root("modprobe fuse")) from None
    except PermissionError:
        raise _Gap("this user may not open it", _as_root(f"chmod 0666 {path}")) from None
    except OSError as error:
        # A device node whose driver is not there.
        raise _Gap(f"cannot be opened: {error.strerror}", _as_root("modprobe fuse")) from None
    return "can be opened"


def _fusermount() -> str:
    path = shutil.which("fusermount3")
    if path is None:
        raise _Gap("missing", _install("fuse3"))
    status = os.stat(path)
    if os.geteuid() != 0 and not (status.st_uid == 0 and status.st_mode & 0o4000):
        raise _Gap(f"{path} is not setuid root", _as_root(f"chmod u+s {path}"))
    return path


def _bwrap() -> str:
    path = shutil.which("bwrap")
    if path is None:
        raise _Gap("missing", _install("bubblewrap"))
    done = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=PROBE_S, check=False
    )
    version = done.stdout.strip()
    if done.returncode or _version(version) < BWRAP_NEEDED:
        needed = ".".join(map(str, BWRAP_NEEDED))
        shown = version or done.stderr.strip()
        raise _Gap(f"{path} is not bubblewrap {needed} or newer: {shown}", _install("bubblewrap"))
    return f"{path}, {version}"


def _starter() -> str:
    if not os.access(STARTER, os.X_OK):
        raise _Gap(f"{STARTER} is missing", _install("util-linux"))
    return STARTER


def _user_namespace() -> str:
    tried = _try(["unshare", "--user", "--map-root-user", "true"])
    if not tried:
        return "can be made"
    raise _Gap(f"cannot be made: {tried}", _as_root(f"sysctl -w {forbidding_setting(tried)}"))


def forbidding_setting(complaint: str, settings: str = SETTINGS) -> str:
    """Return the assignment for sysctl that ends what the `complaint` was about."""
    switches = (
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    )
    for name, forbidding, allowing in switches:
        if _setting(name, settings) == forbidding and "space" not in complaint:
            return f"{name}={allowing}"
    return "user.max_user_namespaces=15000"


def _sandbox() -> str:
    path = shutil.which("bwrap")
    if path is None:
        raise _Gap("bwrap is missing", _install("bubblewrap"))
    with tempfile.TemporaryDirectory() as base:
        policy = Policy(("true",), Bind(base, base, writable=True), base)
        with as_fds(render(policy, look_at_root(), {})) as (words, fds):
            tried = _try([path, *words, "--", *starting(policy)], fds)
    if not tried:
        return "a sandbox with all that it closes ran"
    if _try(["unshare", "--user", "--map-root-user", "true"]):
        raise _Gap(tried, _as_root(f"sysctl -w {forbidding_setting(tried)}"))
    if _setting("kernel.apparmor_restrict_unprivileged_userns") == "1":
        remedy = _as_root("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
        raise _Gap(tried, remedy)
    raise _Gap(tried, _install("bubblewrap"))


def _overlay() -> str:
    script = (
        'mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir lower upper work merged && >lower/a &&'
        " mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr none merged &&"
        " rm merged/a && test -c upper/a"
    )
    with tempfile.TemporaryDirectory() as place:
        make = ["unshare", "--user", "--map-root-user", "--mount"]
        tried = _try([*make, "sh", "-c", script, "sh", place])
    if not tried:
        return "can be mounted in a user namespace, on tmpfs"
    with open("/proc/filesystems") as known:
        loaded = "overlay" in known.read().split()
    raise _Gap(tried, _as_root(_upgrade() if loaded else "modprobe overlay"))


def allow_other(path: str = "/etc/fuse.conf") -> str:
    """Read what fusermount3 reads."""
    try:
        with open(path) as conf:
            allowed = any(line.strip() == "user_allow_other" for line in conf)
    except OSError:
        allowed = False
    if not allowed:
        remedy = _as_root(f"sh -c 'echo user_allow_other >> {path}'")
        raise _Gap("users other than root may not mount with --allow-other", remedy)
    return "every user may mount with --allow-other"


PROBES: tuple[tuple[str, bool, Callable[[], str]], ...] = (
    ("kernel", True, _kernel),
    ("python packages", True, _packages),
    ("serving loop", False, _serving_loop),
    ("/dev/fuse", True, device),
    ("fusermount3", True, _fusermount),
    ("bwrap", True, _bwrap),
    ("setsid", True, _starter),
    ("user namespace", True, _user_namespace),
    ("sandbox", True, _sandbox),
    ("overlayfs", False, _overlay),
    ("user_allow_other", False, allow_other),
)


def _try(command: Sequence[str], fds: Sequence[int] = ()) -> str:
    """Run a command; return its last word on stderr if it fails, else nothing."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=fds,
            timeout=PROBE_S,
            check=False,
        )
    except FileNotFoundError:
        return f"{command[0]} is missing"
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {PROBE_S:g} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    complaints = [line for line in lines if "dmesg" not in line]
    return complaints[-1].strip() if complaints else f"exit code {done.returncode}"


def _setting(name: str, settings: str = SETTINGS) -> str:
    try:
        with open(os.path.join(settings, *name.split("."))) as source:
            return source.read().strip()
    except OSError:
        return ""


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _as_root(command: str) -> str:
    return command if os.geteuid() == 0 else f"sudo {command}"


def _install(package: str) -> str:
    for tool, words in (("apt-get", "install"), ("dnf", "install"), ("pacman", "-S")):
        if shutil.which(tool):
            return _as_root(f"{tool} {words} {package}")
    return _as_root(f"apt-get install {package}")


def _upgrade() -> str:
    for tool, words in (("apt-get", "full-upgrade"), ("dnf", "upgrade"), ("pacman", "-Syu")):
        if shutil.which(tool):
            return f"{tool} {words}"
    return "apt-get full-upgrade"
