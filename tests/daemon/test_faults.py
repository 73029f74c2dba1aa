"""Nothing a provider or a client does ends the daemon, and nothing leaks."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vfsd.exitcodes import ExitCode

pytestmark = pytest.mark.fuse

RAISING = """
    import errno
    import os
    import stat
    import trio
    from vfsd.provider import Handle, PathProvider, Stat, Traits

    NAMES = [b"bug", b"oserror", b"group", b"exit", b"slow", b"fine"]

    class Fine(Handle):
        async def read(self, offset, size):
            return b"fine\\n"[offset : offset + size]

        async def getattr(self):
            return Stat(stat.S_IFREG | 0o444, 1, 0, 0, 0, 5, 1, 0, 0, 0)

    class Provided(PathProvider):
        @classmethod
        async def from_options(cls, source, options):
            return cls()

        @property
        def traits(self):
            return Traits(writable=False)

        async def stat(self, path):
            if path == b"":
                return Stat(stat.S_IFDIR | 0o755, 2, 0, 0, 0, 0, 0, 0, 0, 0)
            if path not in NAMES:
                raise FileNotFoundError(errno.ENOENT, "no")
            return Stat(stat.S_IFREG | 0o444, 1, 0, 0, 0, 5, 1, 0, 0, 0)

        async def readdir_path(self, path):
            return NAMES

        async def open_path(self, path, flags, caller):
            if path == b"bug":
                raise ZeroDivisionError("a bug in a provider")
            if path == b"oserror":
                raise OSError(errno.EUCLEAN, "odd")
            if path == b"group":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.stat, None)
                    raise ValueError("in a group")
            if path == b"exit":
                raise OSError("an OSError without an errno")
            if path == b"slow":
                while not os.path.exists(os.environ["GO_ON"]):
                    await trio.sleep(0.01)
            return Fine()
"""


def test_a_provider_that_raises_gives_errors_and_goes_on(mounted, third_party):
    third_party("raising", RAISING)
    mounted.environment["GO_ON"] = str(mounted.root / "go on")
    mounted.vfsd("unmount", mounted.mount)
    mounted.vfsd("mount", mounted.mount)  # with the new package on its path
    mounted.vfsd("attach", "raising", mounted.mount / "r")
    for name, words in (
        ("bug", "Input/output"),
        ("oserror", "clean"),
        ("group", "Input/output"),
        ("exit", "Input/output"),
    ):
        with pytest.raises(OSError, match=words):
            (mounted.mount / "r" / name).read_bytes()
    assert (mounted.mount / "r/fine").read_bytes() == b"fine\n"
    assert "ZeroDivisionError: a bug in a provider" in mounted.log()
    before = mounted.status()["pid"]
    (mounted.mount / "still").touch()
    assert mounted.status()["pid"] == before


def test_a_client_killed_in_mid_request_costs_nothing(mounted, third_party):
    third_party("raising", RAISING)
    mounted.environment["GO_ON"] = str(mounted.root / "go on")
    mounted.vfsd("unmount", mounted.mount)
    mounted.vfsd("mount", mounted.mount)
    mounted.vfsd("attach", "raising", mounted.mount / "r")
    stuck = [
        subprocess.Popen([sys.executable, "-c", f"open({str(mounted.mount / 'r/slow')!r})"])
        for _ in range(5)
    ]
    while mounted.status()["requests"].get("open", 0) < 5:
        time.sleep(0.02)
    for process in stuck:
        process.kill()
    assert (mounted.mount / "r/fine").read_bytes() == b"fine\n"
    (mounted.root / "go on").touch()
    for process in stuck:
        process.wait(timeout=30)
    for _ in range(200):  # releases are sent in their own time
        if not mounted.status()["open_handles"]:
            break
        time.sleep(0.02)
    assert mounted.status()["open_handles"] == 0


def test_something_else_in_the_group_is_refused(mounted, third_party):
    third_party("wrong", "def Provided(): pass")
    third_party("broken", "import nothing_of_that_name")
    mounted.vfsd("unmount", mounted.mount)
    mounted.vfsd("mount", mounted.mount)
    assert "not a Provider class" in mounted.refused(
        ExitCode.UNAVAILABLE, "attach", "wrong", mounted.mount / "x"
    )
    assert "cannot be loaded" in mounted.refused(
        ExitCode.UNAVAILABLE, "attach", "broken", mounted.mount / "x"
    )
    assert os.listdir(mounted.mount) == []


def test_a_foreign_package_called_providers_is_refused(place):
    foreign = place.root / "foreign"
    (foreign / "providers").mkdir(parents=True)
    (foreign / "providers/__init__.py").touch()
    place.environment["PYTHONPATH"] = f"{foreign}:{place.environment['PYTHONPATH']}"
    assert "foreign" in place.refused(ExitCode.UNAVAILABLE, "mount", place.mount)


def fuse_nodes(place) -> tuple[int, int]:
    now = place.status()
    return now["inodes"], now["open_handles"]


def test_lookup_counts_and_handles_come_back_to_nothing(mounted):
    """Work, then make the kernel forget: what remains in the table is the root."""
    root = mounted.mount
    script = """
        mkdir -p a/b/c; for i in 1 2 3 4 5 6 7 8 9; do echo $i > a/b/f$i; ln a/b/f$i a/l$i; done
        ls -lR . ; cat a/b/f* ; mv a/b/f1 a/moved; mv a/b a/z; ln -s x s; stat nothing || :
        rm a/l2; cp -r a copy; find . -type f | xargs cat; rm -r copy; mkfifo p; ls -la a
    """
    subprocess.run(["sh", "-ec", script], cwd=root, check=True, capture_output=True)
    assert fuse_nodes(mounted)[0] > 10
    subprocess.run(["rm", "-rf", *(str(root / name) for name in os.listdir(root))], check=True)
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("2")
    for _ in range(200):  # forgets are sent in their own time
        inodes, handles = fuse_nodes(mounted)
        if (inodes, handles) == (1, 0):
            break
        time.sleep(0.02)
    assert (inodes, handles) == (1, 0)


def test_a_stopped_daemon_is_recognised_as_alive_by_mount(place):
    place.vfsd("mount", place.mount)
    pid = place.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert "already" in place.refused(ExitCode.REFUSED, "mount", place.mount)
    finally:
        os.kill(pid, signal.SIGCONT)
        place.vfsd("unmount", place.mount)
