"""A git repository as a base: fetched shallowly, once for each commit, and kept in a cache.

    git+URL[@REF]     URL: https, http, ssh, git or file, or a path; REF: a branch, a tag or a
                      whole commit id (default: the repository's HEAD)

The cache is `$XDG_CACHE_HOME/vfsd/git/KEY/`: `trees/COMMIT` are checkouts, `refs/…` say which
commit a name meant last. A commit that is there is not fetched again; where the repository
cannot be reached, a name means what it meant last, and that is said. Removing the cache is
always allowed.

A URL and a ref can come from somebody else's hands: neither can become an option of git's or a
helper program (`ext::`), submodules are not followed, and no hook of the repository's runs.

Concurrency: blocking; one process at a time works on a repository (a lock). A checkout appears
by a rename.

Sources: git-fetch(1); gitremote-helpers(7) for transports that run programs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from vfsd import xdg
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

PREFIX = "git+"
SCHEMES = ("https://", "http://", "ssh://", "git://", "file://")
REFUSED_LETTERS = frozenset(" ~^:?*[\\\x7f") | {chr(code) for code in range(32)}
COMMIT_LETTERS = frozenset("0123456789abcdef")
COMMIT_LENGTHS = (40, 64)
SETTINGS = (
    *("core.hooksPath=/dev/null", "protocol.ext.allow=never", "protocol.fd.allow=never"),
    *("advice.detachedHead=false", "init.defaultBranch=main", "submodule.recurse=false"),
    "gc.auto=0",
)


class Repository(NamedTuple):
    """Where it is, and what of it is wanted."""

    url: str
    ref: str


def read(text: str) -> Repository:
    """Return what ``git+URL@REF`` means. UserError (125) for what git must not be given."""
    rest = text.removeprefix(PREFIX)
    scheme = next((each for each in SCHEMES if rest.startswith(each)), "")
    authority, slash, path = rest[len(scheme) :].partition("/")
    # Before the path an "@" separates a user from a host.
    path, _, ref = path.partition("@")
    url = scheme + authority + slash + path
    if not scheme:
        if "::" in rest.partition("/")[0] or ("://" in rest) or rest.startswith("-") or not path:
            raise _wrong(f"{text}: write git+https://HOST/PATH@REF, git+ssh://… or git+/PATH@REF")
        url = os.path.realpath(url)
    if authority.startswith("-") or "\n" in url:
        raise _wrong(f"{text} names no host or repository that git could be asked for")
    if ref.startswith(("-", "/")) or ".." in ref or "@{" in ref or set(ref) & REFUSED_LETTERS:
        raise _wrong(f"{ref!r} can be no branch, tag or commit; see 'git help check-ref-format'")
    return Repository(url, ref or "HEAD")


def checkout(repository: Repository, say: Callable[[str], None]) -> str:
    """Return the directory of a checkout. UserError (125) with git's own words if there is none."""
    key = hashlib.sha256(os.fsencode(repository.url)).hexdigest()[:24]
    place = os.path.join(_cache(), key)
    for name in ("trees", "refs"):
        os.makedirs(os.path.join(place, name), 0o700, exist_ok=True)
    with open(os.path.join(place, "lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_commit(repository.ref):
            known = os.path.join(place, "trees", repository.ref)
            if os.path.isdir(known):
                return known
        return _fetched(repository, place, say)


def is_commit(ref: str) -> bool:
    """Say whether a ref is a whole commit id."""
    return len(ref) in COMMIT_LENGTHS and set(ref) <= COMMIT_LETTERS


def _fetched(repository: Repository, place: str, say: Callable[[str], None]) -> str:
    note = os.path.join(place, "refs", hashlib.sha256(os.fsencode(repository.ref)).hexdigest())
    fresh = os.path.join(place, "fetching")
    shutil.rmtree(fresh, ignore_errors=True)
    os.mkdir(fresh, 0o700)
    try:
        _git(fresh, "init", "--quiet")
        problem = _fetch(fresh, repository)
        if problem:
            return _remembered(repository, place, note, problem, say)
        commit = _git(fresh, "rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
        tree = os.path.join(place, "trees", commit)
        if not os.path.isdir(tree):
            _git(fresh, "checkout", "--quiet", "--detach", commit)
            # It tells where the repository is, perhaps with a password.
            os.unlink(os.path.join(fresh, ".git", "FETCH_HEAD"))
            os.rename(fresh, tree)
        with open(note, "w") as target:
            target.write(commit)
        return tree
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fetch(fresh: str, repository: Repository) -> str:
    """Return git's complaint, or nothing."""
    words = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--"]
    done = _run(fresh, *words, repository.url, repository.ref)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[0].strip() if lines else f"git ended with {done.returncode}"


def _remembered(
    repository: Repository, place: str, note: str, problem: str, say: Callable[[str], None]
) -> str:
    try:
        with open(note) as source:
            tree = os.path.join(place, "trees", source.read().strip())
    except OSError:
        tree = ""
    if not tree or not os.path.isdir(tree):
        raise _wrong(f"{repository.ref} of {repository.url} cannot be fetched: {problem}")
    commit = os.path.basename(tree)
    meant = f"{repository.ref} is {commit[:12]}, as it was last"
    say(f"{repository.url} cannot be fetched ({problem}); {meant}")
    return tree


def _git(directory: str, *words: str) -> str:
    done = _run(directory, *words)
    if done.returncode:
        raise _wrong(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _run(directory: str, *words: str) -> subprocess.CompletedProcess[str]:
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "LC_ALL": "C",
    }
    try:
        return subprocess.run(
            ["git", "-C", directory, *settings, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise _wrong("git is missing; 'apt-get install git' as root brings it") from None


def _cache() -> str:
    return os.path.join(xdg.need(xdg.CACHE, "repositories"), "vfsd", "git")


def _wrong(message: str) -> UserError:
    return UserError(message, ExitCode.RUN_FAILED)
