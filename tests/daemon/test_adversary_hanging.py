"""A provider that hangs in one method: what waits is what concerns it, and nothing is overtaken."""

import os
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.fuse

GATED = """
    import os
    import trio
    from providers.memory import MemoryProvider

    class Provided(MemoryProvider):
        '''Hangs in a method, about a name, while the gate has a file METHOD-NAME.'''

        @classmethod
        async def from_options(cls, source, options):
            provider = cls()
            provider.gate = options["gate"]
            provider.names = {}
            return provider

        async def wait(self, method, name):
            place = os.path.join(self.gate, f"{method}-{os.fsdecode(name)}")
            while os.path.exists(place):
                open(place + ".asked", "w").close()
                await trio.sleep(0.002)

        async def lookup(self, parent, name):
            await self.wait("lookup", name)
            return await super().lookup(parent, name)

        async def open(self, node, flags, caller):
            await self.wait("open", b"file")
            return await super().open(node, flags, caller)

        async def create(self, parent, name, mode, flags, caller):
            await self.wait("create", name)
            return await super().create(parent, name, mode, flags, caller)

        async def rmdir(self, parent, name):
            await self.wait("rmdir", name)
            return await super().rmdir(parent, name)

        async def rename(self, parent, name, new_parent, new_name, flags):
            await self.wait("rename", name)
            return await super().rename(parent, name, new_parent, new_name, flags)

        async def aclose(self):
            open(os.path.join(self.gate, "closed"), "w").close()
            await super().aclose()
"""


class Gate:
    """The daemon's side of the provider: `shut` makes a method hang, `open` lets it go on."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()

    def shut(self, what):
        (self.directory / what).touch()

    def open(self, what):
        (self.directory / what).unlink()

    def await_asked(self, what):
        until((self.directory / f"{what}.asked").exists, f"{what} was asked for")

    @property
    def closed(self):
        return (self.directory / "closed").exists()


def until(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.002)


@pytest.fixture
def gate(place, third_party):
    third_party("gated", GATED)
    place.vfsd("mount", place.mount)
    gate = Gate(place.root / "gate")
    place.vfsd("attach", "gated", place.mount / "g", "-o", f"gate={gate.directory}")
    yield gate
    for shut in gate.directory.iterdir():
        shut.unlink()
    place.vfsd("unmount", place.mount)


def start(place, script, *arguments):
    """Run Python code with `sys.argv[1:]` as given, besides the test."""
    return subprocess.Popen(
        [sys.executable, "-c", "import os, sys\n" + script, *map(str, arguments)],
        env=place.environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process):
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output


CONTROL = "from vfsd import client\ntree = client.connect(sys.argv[1])\n"


def test_a_lookup_that_hangs_delays_no_other_attachment(place, gate):
    """The kernel's lock on a directory, held by a lookup, holds up what is told about it."""
    (place.mount / "beside").write_bytes(b"old")
    (place.mount / "m").mkdir()
    place.vfsd("attach", "memory", place.mount / "m")
    (place.mount / "m/inside").write_bytes(b"old")
    for name in ("beside", "m/inside"):
        assert (place.mount / name).read_bytes() == b"old"
    gate.shut("lookup-x")
    hanging = start(place, "print(os.path.exists(sys.argv[1]))", place.mount / "g/x")
    gate.await_asked("lookup-x")
    before = place.status()["changes_noted"]
    waiting = start(place, CONTROL + "tree.mkdir('/g/d')\nprint('told')", place.mount)
    until(lambda: place.status()["changes_noted"] > before, "a change in the same directory")
    for name in ("beside", "m/inside"):
        done = start(place, CONTROL + "tree.write_bytes(sys.argv[2], b'new')", place.mount, name)
        end(done)
        assert (place.mount / name).read_bytes() == b"new"
    place.vfsd("attach", "memory", place.mount / "later")
    place.vfsd("detach", place.mount / "later")
    assert not gate.closed
    assert hanging.poll() is None
    assert waiting.poll() is None, "answered before its own change shows"
    gate.open("lookup-x")
    assert end(hanging) == "False\n"
    assert end(waiting) == "told\n"
    assert os.listdir(place.mount / "g") == ["d"]


@pytest.mark.parametrize("door", ["mount", "control"])
@pytest.mark.parametrize("method", ["open-file", "create-file"])
def test_a_file_that_is_being_opened_keeps_its_provider(place, gate, door, method):
    if method == "open-file":
        (place.mount / "g/file").write_bytes(b"data")
    gate.shut(method)
    if door == "mount":
        script = "file = open(sys.argv[2], 'a+b')"
    else:
        script = CONTROL + "file = tree.open('/g/file', 'a+b')"
    script += "\nfile.write(b'more')\nfile.seek(0)\nprint(file.read().decode())\nfile.close()"
    opening = start(place, script, place.mount, place.mount / "g/file")
    gate.await_asked(method)
    said = place.refused(4, "detach", place.mount / "g")
    assert "busy" in said
    place.vfsd("detach", "--lazy", place.mount / "g")
    place.status()
    assert not gate.closed, "closed under an open"
    gate.open(method)
    if door == "mount":
        assert end(opening) == ("datamore\n" if method == "open-file" else "more\n")
    else:
        opening.communicate(timeout=30)  # refused, or not: it is gone from the tree
    until(lambda: gate.closed, "closed in the end")


@pytest.mark.parametrize("door", ["mount", "control"])
@pytest.mark.parametrize("method", ["rmdir", "rename"])
def test_an_attach_does_not_overtake_a_removal(place, gate, door, method):
    """Else it would stand on a directory that is gone."""
    (place.mount / "g/d").mkdir()
    gate.shut(f"{method}-d")
    if door == "mount":
        calls = {"rmdir": "os.rmdir(path)", "rename": "os.rename(path, path + '2')"}
        script = "path = sys.argv[2] + '/g/d'\n" + calls[method]
    else:
        calls = {"rmdir": "tree.rmdir('/g/d')", "rename": "tree.rename('/g/d', '/g/d2')"}
        script = CONTROL + calls[method]
    removing = start(place, script, place.mount, place.mount)
    gate.await_asked(f"{method}-d")
    for prefix in ("g/d", "g/d/below"):
        said = place.refused(4, "attach", "memory", place.mount / prefix)
        assert "busy" in said
    gate.open(f"{method}-d")
    end(removing)
    place.vfsd("attach", "memory", place.mount / "g/d")
    assert "d" in os.listdir(place.mount / "g")
    place.vfsd("detach", place.mount / "g/d")


def test_a_removal_does_not_overtake_an_attach(place, gate):
    (place.mount / "g/d").mkdir()
    gate.shut("lookup-e")
    attaching = subprocess.Popen(
        [sys.executable, "-m", "vfsd", "attach", "memory", place.mount / "g/d/e"],
        env=place.environment,
    )
    gate.await_asked("lookup-e")
    for change in (os.rmdir, lambda path: os.rename(path, f"{path}2")):
        with pytest.raises(OSError, match="busy"):
            change(place.mount / "g/d")
    gate.open("lookup-e")
    assert attaching.wait(30) == 0
    assert os.listdir(place.mount / "g/d/e") == []
    place.vfsd("detach", place.mount / "g/d/e")
    os.rmdir(place.mount / "g/d/e")
    os.rmdir(place.mount / "g/d")
