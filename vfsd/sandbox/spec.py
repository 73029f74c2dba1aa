"""What a sandbox is: a policy, rendered to bubblewrap's arguments.

Pure: no I/O, so that what a policy opens can be read, printed and tested as data. Who builds
the arguments owns the security model; docs/SECURITY.md says what it promises.

Closed by default. Of the host's files there is /usr, read-only, a few files of /etc that
programs need to start, and what the policy binds. Everything else is private to the run: /tmp,
the home directory, /proc, /dev, /run. All namespaces are new, the network one too unless asked
for, and no capability is kept, also when started as root.

What it is *not*: looking at the host (host.py), starting anything (runner.py).

Sources: bwrap(1) of 0.8; namespaces(7), capabilities(7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HOME = "/home/user"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ETC_ALWAYS = (
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    *("/etc/localtime", "/etc/mime.types", "/etc/services", "/etc/protocols"),
)
"""Files of the host's /etc that are bound where the host has them."""

ETC_NETWORK = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/gai.conf"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki"),
)
"""The same, with the network only."""

ENVIRONMENT = ("TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ", "NO_COLOR", "FORCE_COLOR", "CI")
"""Variables that pass from the caller; those that start with LC_ do, too."""

ENVIRONMENT_NETWORK = (
    *("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"),
)
"""The same, with the network only."""

CERTIFICATE_VARIABLES = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
    *("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT"),
)
"""The same, if they name something that the sandbox has."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of the host, shown in the sandbox."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Root:
    """What the host's root directory looks like around /usr."""

    links: Mapping[str, str] = field(default_factory=dict)
    """Symlinks such as ``/bin``, and their targets, such as ``usr/bin``."""
    directories: tuple[str, ...] = ()
    """Real directories such as ``/lib`` on a machine without merged /usr."""
    etc: tuple[str, ...] = ()
    """Which of `ETC_ALWAYS` and `ETC_NETWORK` exist."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A sandbox, before it runs."""

    command: tuple[str, ...]
    directory: str
    """The working directory, inside."""
    binds: tuple[Bind, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set on top of what passes from the caller."""
    network: bool = False
    terminal: bool = False
    """Standard input is a terminal made for this run: make it the controlling one."""
    uid: int = 1000
    gid: int = 1000


@dataclass(frozen=True, slots=True)
class Data:
    """An argument that stands for the number of an fd from which bwrap reads `content`."""

    content: bytes


Argument = str | Data


def render(policy: Policy, root: Root, caller: Mapping[str, str]) -> list[Argument]:
    """Return bwrap's arguments for `policy`; `caller` is the caller's environment."""
    return [
        *_namespaces(policy),
        *_system(root, network=policy.network),
        *_made_up_etc(policy),
        *_private(),
        *_binds(policy.binds),
        *("--chdir", policy.directory),
        *_environment(policy, caller),
        *("--", *_command(policy)),
    ]


def passing_environment(caller: Mapping[str, str], *, network: bool) -> dict[str, str]:
    """Return what of the caller's environment a sandbox sees: nothing that tells of the host."""
    names = (*ENVIRONMENT, *(ENVIRONMENT_NETWORK if network else ()))
    passing = {
        name: value for name, value in caller.items() if name in names or name.startswith("LC_")
    }
    if network:
        for name in CERTIFICATE_VARIABLES:
            value = caller.get(name, "")
            if value.startswith(("/etc/ssl/certs", "/usr/")):
                passing[name] = value
    return passing


def _namespaces(policy: Policy) -> list[Argument]:
    # A user namespace even for root: then not even a fault in bwrap gives the command a
    # capability that counts outside, and setuid programs and file owners are the caller's own.
    arguments: list[Argument] = [
        *("--unshare-user", "--disable-userns"),
        *("--uid", str(policy.uid), "--gid", str(policy.gid)),
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--hostname", "sandbox", "--cap-drop", "ALL", "--die-with-parent", "--new-session"),
    ]
    if not policy.network:
        arguments.append("--unshare-net")
    return arguments


def _system(root: Root, *, network: bool) -> list[Argument]:
    arguments: list[Argument] = ["--ro-bind", "/usr", "/usr"]
    for name in ("/etc", "/home", "/run", "/var"):
        arguments += ["--perms", "0755", "--dir", name]
    for name, target in root.links.items():
        arguments += ["--symlink", target, name]
    for name in root.directories:
        arguments += ["--ro-bind", name, name]
    wanted = (*ETC_ALWAYS, *(ETC_NETWORK if network else ()))
    for name in root.etc:
        if name in wanted:
            arguments += ["--ro-bind", name, name]
    return arguments


def _made_up_etc(policy: Policy) -> list[Argument]:
    name = _user_name(policy)
    files = {
        "/etc/passwd": f"{name}:x:{policy.uid}:{policy.gid}::{HOME}:/bin/sh\n"
        "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
        "/etc/group": f"{name}:x:{policy.gid}:\nnogroup:x:65534:\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "/etc/hostname": "sandbox\n",
    }
    arguments: list[Argument] = []
    for path, text in files.items():
        arguments += ["--perms", "0644", "--ro-bind-data", Data(text.encode()), path]
    return arguments


def _user_name(policy: Policy) -> str:
    return "root" if policy.uid == 0 else "user"


def _private() -> list[Argument]:
    return [
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--tmpfs", "/tmp"),
        *("--perms", "1777", "--dir", "/var/tmp"),
        *("--perms", "0700", "--tmpfs", HOME),
    ]


def _binds(binds: tuple[Bind, ...]) -> list[Argument]:
    arguments: list[Argument] = []
    for bind in binds:
        arguments += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
    return arguments


def _environment(policy: Policy, caller: Mapping[str, str]) -> list[Argument]:
    name = _user_name(policy)
    values = {
        **passing_environment(caller, network=policy.network),
        "PATH": PATH,
        "HOME": HOME,
        "USER": name,
        "LOGNAME": name,
        "SHELL": "/bin/sh",
        "PWD": policy.directory,
        **policy.environment,
    }
    arguments: list[Argument] = ["--clearenv"]
    for key, value in values.items():
        arguments += ["--setenv", key, value]
    return arguments


def _command(policy: Policy) -> tuple[str, ...]:
    # The shell gives 127 and 126 for what cannot be started, as every shell does, where bwrap
    # itself gives 1 for everything; the exec leaves no shell behind. Opening a terminal makes
    # it the controlling one of the session that --new-session began.
    terminal = " <>/proc/self/fd/0" if policy.terminal else ""
    return ("/bin/sh", "-c", f'exec "$@"{terminal}', "vfsd-run", *policy.command)
