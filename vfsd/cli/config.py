"""`vfsd config`: check configuration files, and show what they come to.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from vfsd.cli.rundefaults import project_file
from vfsd.config import AttachConfig, MountConfig
from vfsd.configfile import running
from vfsd.configfile.keys import RUN, TABLES
from vfsd.configfile.mounting import directory_of, mount_config
from vfsd.configfile.places import named_file, user_file
from vfsd.configfile.reading import ConfigFile, read
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

Shown = dict[str, "dict[str, object] | list[dict[str, object]]"]
"""Tables by name; a list where there may be any number."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd config check` or `vfsd config show`."""
    parser = argparse.ArgumentParser(
        prog="vfsd config", description="Check configuration files, and show what they come to."
    )
    verbs = parser.add_subparsers(dest="what", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="say what is wrong with files, by file, line and key")
    check.add_argument("files", nargs="*", metavar="FILE", help="default: yours and the project's")
    check.add_argument("--json", action="store_true", help="as a JSON array")
    show = verbs.add_parser("show", help="show what holds, with what stands in no file")
    show.add_argument("file", nargs="?", metavar="FILE", help="default: what 'vfsd run' goes by")
    show.add_argument("--json", action="store_true", help="as JSON")
    given = parser.parse_args(arguments)
    if given.what == "check":
        return _check(given.files, as_json=given.json)
    shown = _run_defaults() if given.file is None else _mount(read(named_file(given.file)))
    print(json.dumps(shown, indent=2) if given.json else "\n".join(_toml(shown)))
    return ExitCode.OK


def _check(names: list[str], *, as_json: bool) -> int:
    files = [named_file(name) for name in names] or _usual_files()
    code, found = ExitCode.OK, []
    for path in files:
        refused: tuple[str, ...] = ()
        wrong = ""
        try:
            file = read(path)
            mount_config(file, directory_of(file) or "/", {})
            if not names and path == project_file(os.getcwd()):
                refused = running.project_defaults(file).refused
        except UserError as error:
            wrong, code = error.message, error.exit_code
        found.append({"file": path, "in_order": not wrong, "wrong": wrong, "passed_over": refused})
        if not as_json:
            for each in filter(None, (*refused, wrong)):
                print(f"vfsd: {each}", file=sys.stderr)
            if not wrong:
                print(f"{path}: in order")
    if as_json:
        print(json.dumps(found, indent=2))
    elif not files:
        print("there is no configuration file")
    return code


def _usual_files() -> list[str]:
    return [path for path in (user_file(), project_file(os.getcwd())) if path is not None]


def _run_defaults() -> Shown:
    user, project = user_file(), project_file(os.getcwd())
    merged = running.merged(
        None if user is None else read(user), None if project is None else read(project)
    )
    for refusal in merged.refused:
        print(f"vfsd: {refusal}", file=sys.stderr)
    defaults = {key.name: key.default.strip('"') for key in RUN}
    return {"run": {**defaults, **merged.values}}


def _mount(file: ConfigFile) -> Shown:
    config = mount_config(file, directory_of(file) or "", {})
    shown: Shown = {
        "mount": {
            "directory": config.mountpoint,
            "allow-other": config.allow_other,
            "allow-nonempty": bool(file.mount.get("allow-nonempty", False)),
            "xattrs": config.xattrs,
            "list-provenance": config.list_provenance,
            "meta": config.meta,
            "loop": "hot" if config.hot_loop else "stock",
            "poll-us": config.poll_us,
            "log-level": config.log_level,
        },
        "provider": _provider(config),
        "attach": [
            {"prefix": os.fsdecode(each.prefix), **_provider(each)} for each in config.attachments
        ],
    }
    if file.run:
        shown["run"] = dict(file.run)
    assert set(shown) <= set(TABLES)
    return shown


def _provider(config: MountConfig | AttachConfig) -> dict[str, object]:
    shown: dict[str, object] = {
        "source": config.source,
        "read-only": config.read_only,
        "options": dict(config.options),
    }
    if config.persist is not None:
        shown["persist"] = config.persist.name
        shown["persist-every"] = f"{config.persist.every_s:g}s"
    return shown


def _toml(shown: Shown) -> list[str]:
    """Return the same as a configuration file that means it."""
    lines: list[str] = []
    for table, value in shown.items():
        for each in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{table}]]" if isinstance(value, list) else f"[{table}]"]
            lines += [f"{key} = {_value(inner)}" for key, inner in each.items() if inner != ""]
    return lines[1:]


def _value(value: object) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{_quoted(key)} = {_value(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value in ("true", "false"):
        return str(value)
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    # JSON's strings are TOML's as well, but for what is written as two surrogates.
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.replace("\x7f", "\\u007f")
