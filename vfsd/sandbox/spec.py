"""What a sandbox is: a policy, rendered to bubblewrap's arguments.

Pure: no I/O, so that what a policy opens can be read, printed and tested as data. Who builds
the arguments owns the security model; docs/SECURITY.md says what it promises.

Closed by default. Of the host's files there is /usr, read-only, a few files of /etc that
programs need to start, and what the policy binds. Everything else is private to the run: /tmp,
the home directory, /proc, /dev. All namespaces are new, the network one too unless asked for,
and no capability is kept, also when started as root.

What it is *not*: looking at the host (host.py), starting anything (runner.py).

Concurrency: pure functions of immutable values. They are named tuples, not dataclasses: to
import those takes longer than bwrap takes to start.

Sources: bwrap(1) of 0.8; namespaces(7), capabilities(7), user_namespaces(7).
"""

from __future__ import annotations

from vfsd.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOME = "/home/user"
USER = "user"
HOSTNAME = "sandbox"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STARTER = "/usr/bin/setsid"
LIMITER = "/usr/bin/prlimit"

WORDS_MAX = 8_000
"""The longest command that bwrap takes as arguments; together with its options it takes 9,000."""
COMMAND_FILE = "/run/command"
"""Inside: a shell script that starts a longer command."""

ETC_ALWAYS = (
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    *("/etc/localtime", "/etc/mime.types", "/etc/services", "/etc/protocols"),
    "/etc/ssl/openssl.cnf",
)
"""Files of the host's /etc that are bound where the host has them."""

ETC_NETWORK = (
    *("/etc/gai.conf", "/etc/ssl/certs", "/etc/ca-certificates"),
    *("/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted"),
)
"""The same, with the network or a proxy only."""

PROC_EMPTIED = (
    *("/proc/keys", "/proc/kcore", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags"),
    *("/proc/latency_stats", "/proc/pagetypeinfo", "/proc/sched_debug", "/proc/slabinfo"),
    *("/proc/timer_list", "/proc/vmallocinfo"),
)
"""Files of /proc, where the kernel has them, that show as empty: the caller's keys, and what tells
of the kernel's memory. Most belong to root, whose own uid the command has if root started it."""

ETC_COPIED = ("/etc/hosts", "/etc/resolv.conf")
"""Files of the host's /etc that are copied, with the network only."""

ENVIRONMENT = ("TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ", "NO_COLOR", "FORCE_COLOR", "CI")
"""Variables that pass from the caller unless they hold a path; likewise those with LC_."""

ENVIRONMENT_NETWORK = (
    *("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"),
)
"""The same, with the network only."""

CERTIFICATE_VARIABLES = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
    *("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT"),
)
"""The same, if they name something in `CERTIFICATE_PLACES`, which the sandbox has."""

CERTIFICATE_PLACES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/share/ca-certificates")

PROXY_PORT = 8118
"""Of the sandbox's loopback, with hosts that are let through; nothing else has a port there yet."""

PROXY_VARIABLES: Mapping[str, str] = {
    **dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"),
        f"http://127.0.0.1:{PROXY_PORT}",
    ),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1"),
    "NODE_USE_ENV_PROXY": "1",
}
"""What programs learn the proxy from."""

NOTHING: Mapping[str, str] = {}


class Bind(NamedTuple):
    """A path of the host, shown in the sandbox."""

    source: str
    target: str
    writable: bool = False


class Root(NamedTuple):
    """What the host's root directory looks like around /usr."""

    links: Mapping[str, str] = NOTHING
    """Symlinks such as ``/bin``, and their targets, such as ``usr/bin``."""
    directories: tuple[str, ...] = ()
    """Real directories such as ``/lib`` on a machine without merged /usr."""
    etc: tuple[str, ...] = ()
    """Which of `ETC_ALWAYS` and `ETC_NETWORK` exist."""
    copies: Mapping[str, bytes] = {}
    """What those of `ETC_COPIED` that exist hold."""
    proc: tuple[str, ...] = ()
    """Which of `PROC_EMPTIED` exist."""


class Policy(NamedTuple):
    """A sandbox, before it runs."""

    command: tuple[str, ...]
    base: Bind
    """The tree to work on; an engine may put another source at the same target."""
    directory: str
    """The working directory, inside."""
    binds: tuple[Bind, ...] = ()
    path: tuple[str, ...] = ()
    """Directories, inside, in which programs are looked for first."""
    environment: Mapping[str, str] = NOTHING
    """Set on top of what passes from the caller."""
    network: bool = False
    proxied: bool = False
    """There is a proxy for some hosts; programs are told, and see the host's certificates."""
    terminal: bool = False
    """Standard input is a terminal made for this run: make it the controlling one."""
    uid: int = 1000
    """What the caller's own uid is shown as; no other uid exists inside."""
    gid: int = 1000
    rlimits: tuple[tuple[str, int], ...] = ()
    """Resource limits of the command, by the names that prlimit(1) has for them."""
    disk_bytes: int | None = None
    """What each private place holds at most; None: half of the machine's memory."""
    more: tuple[Argument, ...] = ()
    """Further options of bwrap that close something, such as a filter for system calls."""

    @property
    def home(self) -> str:
        """Where the private home directory is: never on top of the tree."""
        hidden = _at_or_below(HOME, self.base.target)
        return "/tmp/home" if hidden else HOME


class Data(NamedTuple):
    """An argument that stands for the number of an fd from which bwrap reads `content`."""

    content: bytes


class Handed(NamedTuple):
    """An argument that stands for the number of a copy of the open `fd`."""

    fd: int


Argument = str | Data | Handed


def render(policy: Policy, root: Root, caller: Mapping[str, str]) -> list[Argument]:
    """Return bwrap's options for `policy`; `caller` is the caller's environment.

    Order counts: bwrap carries mounts out as they come, and a later one covers an earlier one.
    """
    return [
        *_namespaces(policy),
        *_system(root, certificates=policy.network or policy.proxied),
        *_files(policy, root),
        *_private(policy),
        *(word for name in root.proc for word in ("--ro-bind-data", Data(b""), name)),
        *_binds((policy.base, *policy.binds)),
        # Last: until then bwrap makes the directories that mounts stand on. /proc likewise: to
        # the kernel root's own files in it, such as /proc/sys/kernel/core_pattern, belong to
        # the caller's uid, and to write them root needs no capability.
        *("--remount-ro", "/", "--remount-ro", "/proc"),
        *("--chdir", policy.directory),
        *_environment(policy, caller),
        *policy.more,
    ]


def starting(policy: Policy) -> list[str]:
    """Return the program that is meant, and the words that start the command, inside.

    setsid(1) makes the command the leader of a session and of a process group of its own, so
    that a signal can be sent to all of it and not to bwrap, and gives 127 and 126 for what
    cannot be started, as a shell does, where bwrap itself gives 1 for everything.
    """
    if len(policy.command) > WORDS_MAX:
        return [policy.command[0], "/bin/sh", COMMAND_FILE]
    return [policy.command[0], *_words(policy)]


def passing_environment(
    caller: Mapping[str, str], *, network: bool, certificates: bool
) -> dict[str, str]:
    """Return what of the caller's environment a sandbox sees: nothing that tells of the host."""
    names = (*ENVIRONMENT, *(ENVIRONMENT_NETWORK if network else ()))
    passing = {
        name: value
        for name, value in caller.items()
        if (name in names or name.startswith("LC_")) and not value.startswith(("/", ":/"))
    }
    if certificates:
        for name in CERTIFICATE_VARIABLES:
            value = caller.get(name, "")
            if ".." not in value and any(_at_or_below(value, at) for at in CERTIFICATE_PLACES):
                passing[name] = value
    return passing


def _words(policy: Policy) -> list[str]:
    terminal = ("--ctty",) if policy.terminal else ()
    limits = [f"--{name}={value}:{value}" for name, value in policy.rlimits]
    limiter = [LIMITER, *limits, "--"] if limits else []
    return [*limiter, STARTER, *terminal, "--", *policy.command]


def _script(words: Iterable[str]) -> bytes:
    quoted = ("'" + word.replace("'", "'\\''") + "'" for word in words)
    return "exec {}\n".format(" ".join(quoted)).encode(errors="surrogateescape")


def _namespaces(policy: Policy) -> list[Argument]:
    # A user namespace even for root: then not even a fault in bwrap gives the command a
    # capability that counts outside, and setuid programs and file owners are the caller's own.
    arguments: list[Argument] = [
        *("--unshare-user", "--disable-userns"),
        *("--uid", str(policy.uid), "--gid", str(policy.gid)),
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--hostname", HOSTNAME, "--cap-drop", "ALL", "--die-with-parent", "--new-session"),
    ]
    if not policy.network:
        arguments.append("--unshare-net")
    return arguments


def _system(root: Root, *, certificates: bool) -> list[Argument]:
    arguments: list[Argument] = ["--ro-bind", "/usr", "/usr"]
    for name in ("/etc", "/home", "/run", "/var"):
        arguments += ["--perms", "0755", "--dir", name]
    for name, target in root.links.items():
        arguments += ["--symlink", target, name]
    for name in root.directories:
        arguments += ["--ro-bind", name, name]
    wanted = (*ETC_ALWAYS, *(ETC_NETWORK if certificates else ()))
    for name in root.etc:
        if name in wanted:
            arguments += ["--ro-bind", name, name]
    return arguments


def _files(policy: Policy, root: Root) -> list[Argument]:
    files = {
        "/etc/passwd": f"{USER}:x:{policy.uid}:{policy.gid}::{policy.home}:/bin/sh\n"
        "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
        "/etc/group": f"{USER}:x:{policy.gid}:\nnogroup:x:65534:\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "/etc/hostname": f"{HOSTNAME}\n",
        # Servers under test listen on localhost, and look it up.
        "/etc/hosts": f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n",
    }
    contents = {path: text.encode() for path, text in files.items()}
    if policy.network:
        contents |= {path: data for path, data in root.copies.items() if path in ETC_COPIED}
    if len(policy.command) > WORDS_MAX:
        contents[COMMAND_FILE] = _script(_words(policy))
    arguments: list[Argument] = []
    for path, content in contents.items():
        arguments += ["--perms", "0444", "--file", Data(content), path]
    return arguments


def _private(policy: Policy) -> list[Argument]:
    size = [] if policy.disk_bytes is None else ["--size", str(policy.disk_bytes)]
    return [
        *("--proc", "/proc", "--dev", "/dev"),
        # Of its own, so that it has a size, and the rest of /dev can be read-only.
        *(*size, "--perms", "1777", "--tmpfs", "/dev/shm"),
        *("--remount-ro", "/dev"),
        *(*size, "--perms", "1777", "--tmpfs", "/tmp"),
        *("--symlink", "../tmp", "/var/tmp"),
        *(*size, "--perms", "0700", "--tmpfs", policy.home),
    ]


def _binds(binds: tuple[Bind, ...]) -> list[Argument]:
    arguments: list[Argument] = []
    for bind in binds:
        arguments += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
    return arguments


def _environment(policy: Policy, caller: Mapping[str, str]) -> list[Argument]:
    values = {
        **passing_environment(
            caller, network=policy.network, certificates=policy.network or policy.proxied
        ),
        **(PROXY_VARIABLES if policy.proxied else {}),
        "PATH": ":".join((*policy.path, PATH)),
        "HOME": policy.home,
        "USER": USER,
        "LOGNAME": USER,
        "SHELL": "/bin/sh",
        "PWD": policy.directory,
        **policy.environment,
    }
    arguments: list[Argument] = ["--clearenv"]
    for key, value in values.items():
        arguments += ["--setenv", key, value]
    return arguments


def _at_or_below(path: str, ancestor: str) -> bool:
    return path == ancestor or path.startswith(ancestor.rstrip("/") + "/")
