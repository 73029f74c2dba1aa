"""The options of `vfsd run`: one table, from which they are read and their help is written.

Not argparse: importing it would take longer than bwrap does.

Concurrency: pure functions.
"""

from __future__ import annotations

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.named import NamedTuple
from vfsd.nearest import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Option(NamedTuple):
    """One option: its name, what stands for its value (nothing for a switch), what it does."""

    name: str
    value: str
    text: str
    many: bool = False


FILES = (
    Option(
        "--base",
        "BASE",
        "work on this: a directory, an archive, snapshot:NAME, or git+URL@REF (default: the"
        " mount or the project that the current directory lies in)",
    ),
    Option("--files", "MAP", "work on the files in this map of names to contents: JSON, or -"),
    Option("--at", "DIR", "show the base there, inside (default: at its own path)"),
    Option("--chdir", "DIR", "start there, inside"),
    Option("--write", "", "let it write to the base itself, not to a layer over it"),
    Option("--bind", "SRC[:DEST]", "show a path of the host inside, writable", many=True),
    Option("--ro-bind", "SRC[:DEST]", "show a path of the host inside, read-only", many=True),
    Option(
        "--path",
        "DIR",
        "show a directory of tools, read-only, and look for programs in it first"
        " (in its bin, if it has one)",
        many=True,
    ),
)
KEEPING = (
    Option("--from", "NAME", "work on a fork of this snapshot"),
    Option("--save", "NAME", "if it succeeds, keep what it wrote as a snapshot of that name"),
    Option("--replace", "", "let --save take a name that is taken"),
    Option("--apply", "", "if it succeeds, write what it changed back to the base"),
    Option("--apply-always", "", "the same, also if it fails"),
    Option("--layer", "DIR", "keep the layer in this directory, and go on with it next time"),
    Option("--keep-on-failure", "", "if it fails, keep what it wrote, as failed-ID"),
)
ENGINE = (
    Option(
        "--engine",
        "NAME",
        "what makes the layer: kernel (overlayfs), fuse (vfsd's own), auto (the first of these"
        " that works; the default), or native (no layer and no isolation at all)",
    ),
)
SURROUNDINGS = (
    Option(
        "--env",
        "KEY[=VALUE]",
        "set a variable inside; without a value, to what it is here",
        many=True,
    ),
)
NETWORK = (
    Option("--net", "", "let it use the host's network"),
    Option(
        "--publish",
        "PORT[:INSIDE]",
        "make a port of a server in it one of this machine's loopback; 0 takes any free one",
        many=True,
    ),
    Option(
        "--allow-host",
        "NAME[:PORT]",
        "let it talk to this host (ports 80 and 443), through a proxy; *.NAME: all below it",
        many=True,
    ),
)
LIMITS = (
    Option("--memory", "SIZE", "memory of all its processes together, such as 512M"),
    Option("--pids", "NUMBER", "processes and threads (4096 where an ordinary user runs it)"),
    Option("--cpus", "NUMBER", "processors, such as 1.5"),
    Option("--timeout", "TIME", "end it after so long, such as 90s or 5m, with exit code 124"),
    Option("--fsize", "SIZE", "size of each file it writes"),
    Option("--disk", "SIZE", "size of its home directory, /tmp, /dev/shm and its layer, each"),
    Option("--output", "SIZE", "end it when it has said more than this, with exit code 153"),
)
OTHER = (
    Option(
        "--no-seccomp",
        "",
        "do not filter its system calls; for programs that need one which is refused",
    ),
    Option("--no-config", "", "read no vfsd.toml, neither yours nor the project's"),
    Option("--quiet", "", "do not say at the end what ran and what changed"),
    Option("--help", "", "show this (also -h)"),
)

GROUPS = (
    ("files", FILES),
    ("keeping what it writes", KEEPING),
    ("its surroundings", SURROUNDINGS),
    ("engine", ENGINE),
    ("network", NETWORK),
    ("limits", LIMITS),
    ("other", OTHER),
)

OPTIONS = {option.name: option for _, options in GROUPS for option in options}

HEAD = """\
usage: vfsd run [options] -- CMD [ARGUMENT ...]

Run a command in a sandbox that sees a project or a mounted tree, and of the host only /usr.
What it writes goes to a layer, and with it at the end. Its exit code is passed on; 125 means
that vfsd itself failed, 126 and 127 what they mean in a shell.
"""
TEXT_COLUMN = 24
WIDTH = 92


class Given(NamedTuple):
    """The command line, read."""

    options: dict[str, list[str]]
    command: list[str]

    def has(self, option: str) -> bool:
        """Say whether a switch or an option is there at all."""
        return option in self.options

    def last(self, option: str) -> str | None:
        """Return the value of an option that counts once."""
        return self.options[option][-1] if option in self.options else None

    def all(self, option: str) -> list[str]:
        """Return the values of an option that can be given several times."""
        return self.options.get(option, [])


def read(arguments: Sequence[str]) -> Given:
    """Read options up to ``--`` or the command. UserError (125) for what is none."""
    options: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        name, separator, value = word.partition("=")
        if name == "-h":
            name = "--help"
        option = OPTIONS.get(name)
        if option is None or (separator and not option.value):
            near = None if option else nearest(name, OPTIONS)
            raise _wrong(f"there is no option {word}" + (f"; did you mean {near}?" if near else ""))
        if option.value:
            if not separator:
                if not rest:
                    raise _wrong(f"{name} needs a value")
                value = rest.pop(0)
            options.setdefault(name, []).append(value)
        else:
            options[name] = []
    if not rest and "--help" not in options:
        raise _wrong("no command is given; it stands after --")
    return Given(options, rest)


def usage() -> str:
    """Return the help."""
    lines = [HEAD]
    for title, options in GROUPS:
        if options:
            lines += [f"{title}:", *(line for each in options for line in _told(each)), ""]
    repeated = ", ".join(option.name for option in OPTIONS.values() if option.many)
    return "\n".join([*lines, f"Can be given several times: {repeated}."])


def _told(option: Option) -> list[str]:
    # Not textwrap: it brings the regular expressions, which take longer than all of this.
    start = f"  {option.name} {option.value}".rstrip()
    lines = [f"{start:<{TEXT_COLUMN}}"] if len(start) < TEXT_COLUMN else [start, " " * TEXT_COLUMN]
    for word in option.text.split():
        if len(lines[-1]) + len(word) >= WIDTH:
            lines.append(" " * TEXT_COLUMN)
        lines[-1] += word if lines[-1].endswith(" ") else f" {word}"
    return lines


def _wrong(what: str) -> UserError:
    return UserError(f"{what} ('vfsd run --help' tells the options)", ExitCode.RUN_FAILED)
