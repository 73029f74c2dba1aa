"""The options of `vfsd mount`, and the configuration that they and a file make.

What is said on the command line goes before the file, also when the file is read again.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field

from vfsd.cli.options import absolute, key_values
from vfsd.config import MountConfig
from vfsd.configfile.mounting import directory_of, mount_config
from vfsd.configfile.places import named_file
from vfsd.configfile.reading import read
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


@dataclass(frozen=True, slots=True)
class Asked:
    """A `vfsd mount`, read: what the command line says, and what the file said at first."""

    mountpoint: str
    """As it was given; relative to where the command was given."""
    allow_nonempty: bool = False
    foreground: bool = False
    file: str | None = None
    is_named_by_file: bool = False
    """The mountpoint is the file's word."""
    fields: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    def config(self, mountpoint: str) -> MountConfig:
        """Read the file, as it is now, and return what to mount. UserError."""
        file = None if self.file is None else read(self.file)
        fields = dict(self.fields)
        if self.options or "source" in fields:
            below: Mapping[str, str] = {}
            if "source" not in fields:
                below = mount_config(file, mountpoint, {}).options
            fields["options"] = {**below, **self.options}
        if "source" in fields:
            fields.setdefault("persist", None)
        if self.is_named_by_file and file is not None:
            moved = directory_of(file) or self.mountpoint
            mountpoint = mountpoint if moved == self.mountpoint else moved
        return mount_config(file, mountpoint, fields)


def asked(arguments: list[str]) -> Asked:
    """Read the command line and the file that it names. UserError."""
    given = _parser().parse_args(arguments)
    file = None if given.config is None else named_file(given.config)
    said = None if file is None else read(file)
    mountpoint = mountpoint_of(given.mountpoint, given.config)
    fields: dict[str, object] = {}
    for name in ("log_level", "poll_us"):
        if getattr(given, name) is not None:
            fields[name] = getattr(given, name)
    if given.source is not None:
        fields["source"] = absolute(given.source)
    if given.loop is not None:
        fields["hot_loop"] = given.loop == "hot"
    if given.read_only:
        fields["read_only"] = True
    if given.allow_other:
        fields["allow_other"] = True
    if given.no_xattrs:
        fields["xattrs"] = False
    if given.no_meta:
        fields["meta"] = False
    if given.list_provenance:
        fields["list_provenance"] = True
    options = key_values(given.options)
    if given.links is not None:
        options["links"] = given.links
    in_file = said is not None and bool(said.mount.get("allow-nonempty", False))
    return Asked(
        mountpoint,
        allow_nonempty=given.allow_nonempty or in_file,
        foreground=given.foreground,
        file=file,
        is_named_by_file=given.mountpoint is None,
        fields=fields,
        options=options,
    )


def mountpoint_of(named: str | None, config: str | None) -> str:
    """Return the mountpoint that is named, or that a configuration names. UserError."""
    if named is None and config is not None:
        named = directory_of(read(named_file(config)))
    if named is None:
        where = "" if config is None else f", or write it into {named_file(config)}"
        raise UserError(f"there is no mountpoint; name a directory{where}", ExitCode.USAGE)
    return named


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vfsd mount",
        description="Serve a tree of files at a directory; returns once the mount is live.",
    )
    parser.add_argument("mountpoint", nargs="?", help="an existing, empty directory")
    parser.add_argument("source", nargs="?", help="the root provider (default: memory)")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="what to mount and attach: a file, or the name of one in ~/.config/vfsd (without"
        " .toml); SIGHUP has it read again",
    )
    parser.add_argument(
        "-o",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an option of the provider, such as size=1G or inodes=100000",
    )
    parser.add_argument(
        "--links",
        metavar="POLICY",
        help="for a directory: what is done with symlinks that lead out of it, as 'vfsd attach"
        " --help' says; the same as -o links=...",
    )
    parser.add_argument("--foreground", action="store_true", help="stay, and log to stderr")
    parser.add_argument("--read-only", action="store_true", help="nothing can be changed")
    parser.add_argument(
        "--allow-other",
        action="store_true",
        help="let other users in (the default for root; else needs user_allow_other in "
        "/etc/fuse.conf)",
    )
    parser.add_argument(
        "--no-xattrs",
        action="store_true",
        help="no extended attributes: the kernel then asks for none on each write",
    )
    parser.add_argument(
        "--list-provenance",
        action="store_true",
        help="list the attributes user.vfsd.* as well, which say where a file comes from",
    )
    parser.add_argument(
        "--no-meta", action="store_true", help="no hidden directory .vfsd at the root"
    )
    parser.add_argument(
        "--allow-nonempty", action="store_true", help="hide what the directory holds"
    )
    parser.add_argument(
        "--loop", choices=("hot", "stock"), help="stock: serve with pyfuse3's own loop"
    )
    parser.add_argument(
        "--poll-us",
        type=_microseconds,
        metavar="N",
        help="poll up to N microseconds for a next request before sleeping (0: never; default: 50)",
    )
    parser.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING"), help="default: INFO")
    return parser


def _microseconds(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError("must be between 0 and 10000")
    return value
