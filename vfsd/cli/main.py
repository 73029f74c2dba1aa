"""`vfsd VERB ...`: find the verb's module, run it, turn errors into sentences and exit codes.

Only the module of the verb in hand is imported: `vfsd run -- true` must start fast, so no
module here imports trio, msgpack or a progress bar before it needs it.

A verb's module has `main(verb, arguments) -> int`, which returns an exit code or raises
`UserError` or `OSError`.
"""

from __future__ import annotations

import gc
import os
import sys

from vfsd.blocks import suppress
from vfsd.errors import UserError, exit_code_of
from vfsd.exitcodes import ExitCode
from vfsd.nearest import nearest

VERBS = {
    "mount": ("vfsd.cli.mount", "serve a tree of files at a directory"),
    "unmount": ("vfsd.cli.mount", "stop the daemon that serves a directory"),
    "status": ("vfsd.cli.status", "show what is mounted and attached"),
    "tree": ("vfsd.cli.tree", "show what is attached where"),
    "top": ("vfsd.cli.top", "show what a mount is asked, live, and by whom"),
    "events": ("vfsd.cli.events", "show what changes in a tree, as it happens"),
    "logs": ("vfsd.cli.logs", "show what the daemon of a mount logged"),
    "attach": ("vfsd.cli.attach", "attach a provider at a prefix of a mounted tree"),
    "detach": ("vfsd.cli.attach", "take an attached provider away"),
    "fork": ("vfsd.cli.fork", "attach a writable tree that begins as a snapshot"),
    "ls": ("vfsd.cli.files", "list a directory through the control socket"),
    "cat": ("vfsd.cli.files", "print files through the control socket"),
    "put": ("vfsd.cli.files", "copy files and directories into the tree"),
    "get": ("vfsd.cli.files", "copy files and directories out of the tree"),
    "run": ("vfsd.cli.run", "run a command in a sandbox on the tree"),
    "snapshot": ("vfsd.cli.snapshot", "create, list, show, remove and verify snapshots"),
    "diff": ("vfsd.cli.diff", "show what differs between snapshots or directories"),
    "apply": ("vfsd.cli.apply", "write a snapshot's changes back to a directory"),
    "gc": ("vfsd.cli.snapshotcare", "free what no snapshot needs any more"),
    "ps": ("vfsd.cli.running", "list the sandboxes that run"),
    "exec": ("vfsd.cli.execute", "run one more command in a sandbox that runs"),
    "kill": ("vfsd.cli.running", "end sandboxes"),
    "pack": ("vfsd.cli.pack", "make an archive of a directory, tar, zip or snapshot"),
    "unpack": ("vfsd.cli.archives", "write the files in an archive into a directory"),
    "verify": ("vfsd.cli.archives", "compare all of an archive with its digests"),
    "list": ("vfsd.cli.archives", "list what an archive holds, without mounting it"),
    "config": ("vfsd.cli.config", "check configuration files, and show what they come to"),
    "service": ("vfsd.cli.service", "have systemd mount at login, and after a crash"),
    "completion": ("vfsd.cli.completion", "print what makes a shell complete vfsd's words"),
    "doctor": ("vfsd.cli.doctor", "say what this machine lacks, and what mends it"),
}


def program() -> int:
    """Be a process that runs one verb (the console script).

    `run` must start fast. Two things that cost an eighth of it are left out: the search for
    garbage among what is imported (runner.py takes it up again), and at the end the taking apart
    of everything, which the kernel does anyway.
    """
    if sys.argv[1:2] != ["run"]:
        return main()
    gc.disable()
    code = main()
    # Either can be None, where it was closed when we started.
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def main() -> int:
    """Run the verb named by the command line and return its exit code."""
    arguments = sys.argv[1:]
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        print(_overview())
        return ExitCode.OK if arguments else ExitCode.USAGE
    if verb in ("-V", "--version"):
        from vfsd.version import __version__

        print(f"vfsd {__version__}")
        return ExitCode.OK
    if verb not in VERBS:
        return _complain(_unknown(verb), ExitCode.USAGE)
    try:
        # Not importlib: what it brings along takes as long as ten of these.
        module = __import__(VERBS[verb][0], fromlist=("main",))
        return int(module.main(verb, arguments[1:]))
    except UserError as error:
        return _complain(error.message, error.exit_code)
    except BrokenPipeError:
        # The reader of our output left; there is nobody to tell, and nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:
        return _complain(_sentence(error), exit_code_of(error))
    except SystemExit as end:
        if end.code == ExitCode.USAGE:
            _hint(verb, arguments[1:])
        raise
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _overview() -> str:
    width = max(map(len, VERBS))
    rows = [f"  {verb:<{width}} {summary}" for verb, (_, summary) in VERBS.items()]
    return "\n".join(
        ["usage: vfsd VERB ...", "", *rows, "", "vfsd VERB --help tells more; so does README.md."]
    )


def _unknown(verb: str) -> str:
    near = nearest(verb, VERBS)
    hint = f"did you mean 'vfsd {near}'?" if near else "'vfsd --help' lists the verbs."
    return f"there is no verb {verb!r}; {hint}"


def _hint(verb: str, arguments: list[str]) -> None:
    """After argparse refused a word: say which one may have been meant."""
    from vfsd.cli.parsers import meant_word

    word = meant_word(verb, arguments)
    if word is not None:
        print(f"vfsd: did you mean {word}?", file=sys.stderr)


def _sentence(error: OSError) -> str:
    what = error.strerror or str(error)
    name = error.filename
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    return f"{name}: {what}" if name else what


def _complain(message: str, code: int) -> int:
    print(f"vfsd: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
