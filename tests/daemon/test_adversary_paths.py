"""Mountpoints, sources and prefixes that are not what they look like."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from vfsd.exitcodes import ExitCode

pytestmark = pytest.mark.fuse

RECOGNISING = """
    import os
    from providers.memory import MemoryProvider

    class Provided(MemoryProvider):
        @classmethod
        def recognises(cls, source):
            return os.path.isdir(source)

        @classmethod
        async def from_options(cls, source, options):
            os.stat(source)
            provider = cls()
            provider.source = source
            return provider

        def describe(self):
            return self.source
"""


def test_a_source_inside_the_mount_is_refused_and_stops_nothing(mounted):
    root = mounted.mount
    (mounted.root / "link").symlink_to(root / "unknown")
    for source in (root / "nothing/deeper", mounted.root / "link/x", f"memory:{root}/a/b"):
        said = mounted.refused(ExitCode.REFUSED, "attach", source, root / "x")
        assert "inside the mount" in said
    assert os.listdir(root) == []


def test_what_was_mounted_by_way_of_a_symlink_is_unmounted_by_it(place):
    (place.root / "link").symlink_to("mount")
    place.vfsd("mount", "link")
    (place.root / "link/f").touch()
    assert os.listdir(place.mount) == ["f"]
    place.vfsd("unmount", "link")
    assert os.listdir(place.mount) == []


@pytest.mark.parametrize("source", ["./src", "src", "recognising:src", "recognising:./src"])
def test_a_relative_root_source_is_where_the_caller_stands(place, third_party, source):
    third_party("recognising", RECOGNISING)
    (place.root / "src").mkdir()
    place.vfsd("mount", place.mount, source)
    try:
        assert place.status()["attachments"][0]["provider"] == str(place.root / "src")
    finally:
        place.vfsd("unmount", place.mount)


def test_a_carriage_return_in_any_mountpoint_does_not_stop_a_mount(place):
    odd = place.root / "a\rb\rc"
    odd.mkdir()
    place.vfsd("mount", odd)
    try:
        (odd / "f").touch()
        place.vfsd("mount", place.mount)
        place.vfsd("unmount", place.mount)
    finally:
        subprocess.run(["fusermount3", "-u", odd], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_as_the_mount_comes_up_leaves_no_mount(place, number):
    """The signal is sent by the daemon's own kernel mount: no later moment, no earlier one."""
    script = f"""
        import os, sys
        import pyfuse3
        from vfsd.cli.main import main

        def init_and_signal(*arguments):
            real(*arguments)
            os.kill(os.getpid(), {int(number)})

        real = pyfuse3.init
        pyfuse3.init = init_and_signal
        sys.argv = ["vfsd", "mount", "--foreground", {str(place.mount)!r}]
        sys.exit(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert not os.path.ismount(place.mount)


def test_attaching_above_an_attach_point_is_busy(mounted):
    root = mounted.mount
    mounted.vfsd("attach", "memory", root / "a/b")
    said = mounted.refused(ExitCode.REFUSED, "attach", "memory", root / "a")
    assert "busy" in said
    (root / "a/b/f").touch()
    assert os.listdir(root / "a") == ["b"]


def test_the_parent_of_exchanged_directories_is_where_they_stand(mounted):
    root = mounted.mount
    for name in ("one/x", "two/y"):
        (root / name).mkdir(parents=True)
    libc = ctypes.CDLL(None, use_errno=True)
    at, exchange = -100, 2
    assert not libc.renameat2(
        at, os.fsencode(root / "one/x"), at, os.fsencode(root / "two/y"), exchange
    )
    for name in ("one", "two"):
        (inner,) = os.listdir(root / name)
        listed = subprocess.run(
            ["ls", "-1fai", root / name / inner], capture_output=True, text=True, check=True
        ).stdout.split()
        assert int(listed[listed.index("..") - 1]) == os.stat(root / name).st_ino
