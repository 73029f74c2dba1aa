"""Random walks: the same seeded sequence of calls on both file systems, outcome by outcome.

What the other cases do not think of, these find; a failure names the first call that differs.
"""

import errno
import os
import random
from contextlib import suppress

from tests.mounted.posix.observe import CASES, case, opened, outcome, read_file, write_file
from tests.mounted.posix.syscalls import renameat2

SEEDS = (1, 2, 3, 4, 5, 6)
STEPS = 600
NAMES = ("a", "b", "c", "new\nline")
SIZES = (0, 1, 100, 4095, 4096, 4097, 70_000, 200_000)
HELD_MAX = 5


class Walk:
    """One sequence; whatever it draws depends on the seed and on earlier outcomes only."""

    def __init__(self, root, seed):
        self.root = root
        self.chance = random.Random(seed)
        self.held = []

    def run(self):
        calls = (
            [self.create, self.write, self.rename, self.unlink] * 3
            + [self.mkdir, self.hold, self.use, self.drop, self.truncate, self.link] * 2
            + [self.rmdir, self.symlink, self.chmod, self.xattr, self.look, self.read] * 2
        )
        seen = {}
        for step in range(STEPS):
            call = self.chance.choice(calls)
            seen[f"{step:04} {call.__name__}"] = call()
        while self.held:
            seen[f"held {len(self.held)}"] = self.close(self.held.pop())
        seen["tree"] = tree(self.root)
        return seen

    def path(self):
        depth = self.chance.choice((1, 1, 2, 2, 3))
        return os.path.join(self.root, *(self.chance.choice(NAMES) for _ in range(depth)))

    def bytes(self):
        return self.chance.randbytes(1) * self.chance.choice(SIZES)

    def create(self):
        flags = self.chance.choice((0, os.O_EXCL, os.O_TRUNC))
        mode = self.chance.choice((0o644, 0o600, 0o755))
        return opened(self.path(), os.O_RDWR | os.O_CREAT | flags, mode)

    def write(self):
        flags = self.chance.choice((0, os.O_APPEND, os.O_TRUNC))
        data, offset = self.bytes(), self.chance.choice(SIZES)
        return opened(self.path(), os.O_WRONLY | flags, then=lambda fd: os.pwrite(fd, data, offset))

    def read(self):
        return outcome(read_file, self.path())

    def truncate(self):
        return outcome(os.truncate, self.path(), self.chance.choice(SIZES))

    def mkdir(self):
        return outcome(os.mkdir, self.path())

    def rmdir(self):
        return outcome(os.rmdir, self.path())

    def unlink(self):
        return outcome(os.unlink, self.path())

    def symlink(self):
        return outcome(os.symlink, self.chance.choice(NAMES), self.path())

    def link(self):
        return outcome(os.link, self.path(), self.path(), follow_symlinks=False)

    def rename(self):
        return outcome(renameat2, self.path(), self.path(), self.chance.choice((0, 0, 0, 1, 2)))

    def chmod(self):
        # Never a mode that would keep an ordinary user out of a directory of its own.
        return outcome(os.chmod, self.path(), self.chance.choice((0o700, 0o744, 0o4711)))

    def xattr(self):
        path, value = self.path(), self.bytes()[:100]
        if self.chance.random() < 0.5:
            return outcome(os.setxattr, path, "user.a", value)
        return [outcome(os.getxattr, path, "user.a"), outcome(os.removexattr, path, "user.a")]

    def look(self):
        path = self.path()
        return [outcome(lambda: describe(path)), outcome(lambda: sorted(os.listdir(path)))]

    def hold(self):
        if len(self.held) == HELD_MAX:
            return "enough"
        try:
            self.held.append(os.open(self.path(), os.O_RDWR | os.O_NOFOLLOW))
        except OSError as error:
            return errno.errorcode[error.errno]
        return "held"

    def use(self):
        if not self.held:
            return "none"
        fd, data, offset = self.chance.choice(self.held), self.bytes(), self.chance.choice(SIZES)
        if self.chance.random() < 0.3:
            return [outcome(os.ftruncate, fd, offset), os.fstat(fd).st_size]
        return [outcome(os.pwrite, fd, data, offset), os.fstat(fd).st_size]

    def drop(self):
        if not self.held:
            return "none"
        return self.close(self.held.pop(self.chance.randrange(len(self.held))))

    def close(self, fd):
        found = os.fstat(fd)
        data = os.pread(fd, 1 << 20, 0)
        os.close(fd)
        return [found.st_nlink, found.st_size, len(data), hash_of(data)]


def hash_of(data):
    """Return a short digest that does not depend on the process."""
    return random.Random(data).randrange(1 << 32)


def describe(path):
    found = os.lstat(path)
    directory = oct(found.st_mode).startswith("0o4")
    return [oct(found.st_mode), found.st_nlink, 0 if directory else found.st_size]


def tree(root):
    """Describe everything below `root`, by relative path."""
    seen = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            content = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif name in files:
                content = hash_of(read_file(path))
            xattrs = os.listxattr(path, follow_symlinks=False)
            seen[os.path.relpath(path, root)] = [*describe(path), content, xattrs]
    return seen


def _add(seed):
    def walk(d):
        return Walk(os.fspath(d), seed).run()

    CASES[f"walks_seed_{seed}"] = walk
    walk.root = False


for _seed in SEEDS:
    _add(_seed)


@case
def many_processes_at_once(d):
    """Whatever they did, in the end the tree is a tree, and listings and stat agree."""
    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            # Names vanish between a listing and a look: only the end counts.
            with suppress(OSError):
                Walk(os.fspath(d), 100 + number).run()
            os._exit(0)
        children.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    write_file(d / "last")
    found = tree(d)
    links = {}
    for path in found:
        info = os.lstat(d / path)
        if not os.path.isdir(d / path) or os.path.islink(d / path):
            links.setdefault(info.st_ino, []).append(info.st_nlink)
    wrong = [each for each in links.values() if set(each) != {len(each)}]
    return {"statuses": statuses, "wrong link counts": wrong, "last": "last" in found}
