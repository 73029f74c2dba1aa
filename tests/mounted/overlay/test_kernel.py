"""One format, two engines: the same layers through the provider and the kernel's overlayfs."""

import ctypes
import errno
import json
import os
import shutil
import subprocess
import tempfile
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider
from providers.overlay.marks import TRUSTED, USER
from providers.passthrough import PassthroughProvider
from tests.mounted.overlay.observed import describe_directory, describe_provider, unlike
from tests.mounted.overlay.scenery import lay_out, perform
from vfsd.conformance import Files, Model
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.layered import LayeredView

pytestmark = pytest.mark.root

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
PR_SET_DUMPABLE = 4


@pytest.fixture
def place():
    """A directory on tmpfs that everybody may enter: the kernel wants no overlay below one."""
    root = Path(tempfile.mkdtemp(prefix="vfsd-test-", dir="/dev/shm"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


@contextmanager
def kernel_mount(mountpoint, lowers, *options, upper=None, work=None):
    """Mount the kernel's overlayfs, topmost lower first."""
    layout = ["lowerdir=" + ":".join(map(str, lowers)), *options]
    if upper is not None:
        layout += [f"upperdir={upper}", f"workdir={work}"]
    command = ["mount", "-t", "overlay", "overlay", "-o", ",".join(layout), str(mountpoint)]
    subprocess.run(command, check=True)
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True)


def layers_of(upper):
    """Return the layers that an upper holds, topmost first."""
    numbers = sorted((int(name) for name in os.listdir(upper / "layers")), reverse=True)
    return [upper / "layers" / str(number) for number in numbers]


async def opened(*directories):
    return [
        await PassthroughProvider.from_options(str(each), {"links": "keep"}) for each in directories
    ]


@pytest.mark.parametrize("flavour", [USER, TRUSTED], ids=lambda each: each.name)
async def test_kernel_shows_what_the_provider_wrote(place, flavour):
    shown = await perform(lay_out(place), flavour=flavour)
    assert len(shown) > 20
    options = ["userxattr"] if flavour is USER else ["redirect_dir=follow"]
    lowers = [*layers_of(place / "upper"), place / "one", place / "two"]
    with kernel_mount(place / "mount", lowers, *options):
        assert unlike(shown, describe_directory(place / "mount")) == {}


async def test_kernel_can_write_on(place):
    """The layer serves as the kernel's own upper, and what it then shows is read again."""
    await perform(lay_out(place))
    top, *below = layers_of(place / "upper")
    lowers = [*below, place / "one", place / "two"]
    with kernel_mount(place / "mount", lowers, "userxattr", upper=top, work=place / "work"):
        os.unlink(place / "mount/replaced")
        os.rmdir(place / "mount/link")
        (place / "mount/again/new").write_bytes(b"by the kernel")
        shown = describe_directory(place / "mount")
    upper, one, two = await opened(*(place / name for name in ("upper", "one", "two")))
    overlay = await OverlayProvider.over(upper, [one, two], spare=MemoryProvider())
    assert unlike(await describe_provider(overlay), shown) == {}
    await overlay.aclose()


def as_user(number, act):
    """Call `act` in a child process of an ordinary user, and return what it gives."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(number, number, number)
            os.setresuid(number, number, number)
            with os.fdopen(writer, "w") as pipe:
                json.dump(act(), pipe)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0, answer
    return json.loads(answer)


def in_namespace(lowers, mountpoint):
    """Mount the layers in a user and mount namespace of one's own, and describe the tree."""
    libc = ctypes.CDLL(None, use_errno=True)
    ids = os.getuid(), os.getgid()
    check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))  # or /proc/self belongs to root still
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {ids[0]} 1")
    Path("/proc/self/gid_map").write_text(f"0 {ids[1]} 1")
    options = f"lowerdir={':'.join(map(str, lowers))},userxattr".encode()
    check(libc.mount(b"overlay", os.fsencode(mountpoint), b"overlay", 0, options))
    return describe_directory(mountpoint)


def check(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def test_unprivileged_user_mounts_the_layers(place):
    """All of it as an ordinary user: the overlay, and the kernel's in a namespace of theirs."""
    home = place / "home"
    home.mkdir()
    os.chown(home, 1234, 1234)
    shown = as_user(1234, lambda: trio.run(perform, lay_out(home)))
    lowers = [*layers_of(home / "upper"), home / "one", home / "two"]
    seen = as_user(1234, lambda: in_namespace(lowers, home / "mount"))
    assert {item["uid"] for item in shown.values()} == {1234}
    assert unlike(shown, seen, without=("uid", "gid")) == {}


def test_directories_that_their_owner_may_not_read_are_taken_for_opaque(place):
    """An ordinary user's daemon cannot read the marks of a directory of mode 0."""
    home = place / "home"
    for name in ("top/closed", "top/plain", "low/closed", "low/plain"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_bytes(b"")
    os.setxattr(home / "top/closed", "user.overlay.opaque", b"y")
    os.unlink(home / "top/closed/file")
    for path in (home, *home.rglob("*")):
        os.chown(path, 1234, 1234)
    os.chmod(home / "top/closed", 0)

    async def look():
        files = Files(await OverlayProvider.over(None, await opened(home / "top", home / "low")))
        mode = (await files.stat(b"closed")).mode & 0o777
        with pytest.raises((FileNotFoundError, PermissionError)):
            await files.stat(b"closed/file")
        names = sorted(map(os.fsdecode, await files.names()))
        await files.provider.aclose()
        return [names, mode]

    assert as_user(1234, lambda: trio.run(look)) == [["closed", "plain"], 0]


@pytest.mark.parametrize("seed", range(3))
async def test_random_work_looks_the_same(place, seed):
    """The model's operations on a lower that they filled, with seals in between."""
    for name in ("upper", "lower", "mount"):
        (place / name).mkdir()
    upper, lower = await opened(place / "upper", place / "lower")
    before = Model(Files(lower), 100 + seed)
    before.operations, before.weights = without_versions(before)
    await before.run(300)
    overlay = await OverlayProvider.over(upper, [lower], spare=MemoryProvider())
    model = Model(Files(overlay), seed)
    model.worlds[0].oracle = before.worlds[0].oracle
    await model.run(400)
    shown = await describe_provider(overlay)
    for world in (*model.worlds[1:], *model.sealed):
        await world.files.provider.aclose()
    await overlay.aclose()
    layers = layers_of(place / "upper")
    assert len(layers) > 1, "nothing was sealed"
    with kernel_mount(place / "mount", [*layers, place / "lower"], "userxattr"):
        assert unlike(shown, describe_directory(place / "mount")) == {}


def without_versions(model):
    kept = [
        (operation, weight)
        for operation, weight in zip(model.operations, model.weights, strict=True)
        if operation.__name__ not in ("_snapshot", "_fork")
    ]
    return tuple(zip(*kept, strict=True))


SHELL = """
rm -r gone && rm g && rm -r again && mkdir again && echo new > again/new
rm -r replaced && echo file > replaced
echo more >> d/x && chmod 600 h && mv e/z e/y
mkfifo pipe && ln -s somewhere link2 && ln d/x d/linked && rm fifo
"""


@pytest.mark.parametrize("kind", ["userxattr", "trusted"])
async def test_provider_shows_what_the_kernel_wrote(place, kind):
    lay_out(place)
    options = ["userxattr"] if kind == "userxattr" else ["redirect_dir=on", "metacopy=off"]
    script = SHELL
    if kind == "trusted":
        script += "mv moved d/moved && mv d/moved/inner inner && mv d dd && mv inner dd/inn\n"
    layout = {"upper": place / "upper", "work": place / "work"}
    with kernel_mount(place / "mount", [place / "one", place / "two"], *options, **layout):
        await trio.run_process(["sh", "-e", "-c", script], cwd=place / "mount")
        shown = describe_directory(place / "mount")
    lowers = await opened(place / "upper", place / "one", place / "two")
    view = await OverlayProvider.over(None, lowers)
    assert unlike(await describe_provider(view), shown) == {}
    await view.aclose()


async def test_xattr_whiteouts(place):
    for name in ("top", "middle", "bottom", "mount"):
        (place / name).mkdir()
    for path in ("bottom/d/hidden", "bottom/d/shown", "middle/d/empty", "top/other"):
        (place / path).parent.mkdir(exist_ok=True)
        (place / path).write_bytes(path.encode())
    (place / "middle/d/hidden").write_bytes(b"")
    (place / "middle/d/empty").write_bytes(b"")
    os.setxattr(place / "middle/d", "user.overlay.opaque", b"x")
    os.setxattr(place / "middle/d/hidden", "user.overlay.whiteout", b"y")
    order = [place / name for name in ("top", "middle", "bottom")]
    view = await OverlayProvider.over(None, await opened(*order))
    assert await Files(view).names(b"d") == [b"empty", b"shown"]
    with kernel_mount(place / "mount", order, "userxattr"):
        assert unlike(await describe_provider(view), describe_directory(place / "mount")) == {}
    await view.aclose()


async def test_metacopy_is_refused(place, caplog):
    lay_out(place)
    layout = {"upper": place / "upper", "work": place / "work"}
    options = ["metacopy=on", "redirect_dir=on"]
    with kernel_mount(place / "mount", [place / "one", place / "two"], *options, **layout):
        os.chmod(place / "mount/h", 0o600)
    lowers = await opened(place / "upper", place / "one", place / "two")
    overlay = await OverlayProvider.over(MemoryProvider(), lowers)
    files = Files(overlay)
    for flags in (os.O_RDONLY, os.O_RDWR):
        with pytest.raises(OSError) as caught:
            async with files.opened(b"h", flags):
                pass
        assert caught.value.errno == errno.EOPNOTSUPP
    assert "metacopy" in caplog.text
    assert await files.get(b"d/w")
    await overlay.aclose()


LIKE_MARKS = {
    b"user.overlay.opaque": b"y",
    b"user.overlay.own": b"1",
    b"user.overlay.overlay.twice": b"2",
}


async def seen_by_all(layer, lower):
    """Return the attributes of `d` and `f`, as the provider and as a view show them."""
    provider = await OverlayProvider.over(None, await opened(layer, lower), spare=MemoryProvider())
    files = Files(provider)
    served = {}
    for path in (b"d", b"f"):
        node = await files.node(path)
        names = await provider.listxattr(node)
        served[path] = {name: await provider.getxattr(node, name) for name in names}
    await provider.aclose()
    with LayeredView([HostTree(layer, marks=True)], HostTree(lower)) as view:
        viewed = {path: dict(view.xattrs(path)) for path in (b"d", b"f")}
        assert set(view.scan(b"d")) == {b"low"}
    return served, viewed


async def test_attributes_that_are_named_like_marks(place):
    """They hide nothing, and all show them alike: the kernel escapes them since Linux 6.7."""
    for name in ("lower", "upper", "work", "mount", "lower/d", "served"):
        (place / name).mkdir()
    (place / "lower/d/low").write_bytes(b"low")
    (place / "lower/f").write_bytes(b"low")
    lower, mount = place / "lower", place / "mount"
    with kernel_mount(mount, [lower], "userxattr", upper=place / "upper", work=place / "work"):
        for path in ("d", "f"):
            for name, value in LIKE_MARKS.items():
                os.setxattr(mount / path, name, value)
        assert os.listdir(mount / "d") == ["low"]
    expected = {b"d": LIKE_MARKS, b"f": LIKE_MARKS}
    assert await seen_by_all(place / "upper", lower) == (expected, expected)
    upper, below = await opened(place / "served", lower)
    provider = await OverlayProvider.over(upper, [below], spare=MemoryProvider())
    for path in (b"d", b"f"):
        node = await Files(provider).node(path)
        for name, value in LIKE_MARKS.items():
            await provider.setxattr(node, name, value)
    await provider.aclose()
    (layer,) = layers_of(place / "served")
    assert await seen_by_all(layer, lower) == (expected, expected)
    with kernel_mount(mount, [layer, lower], "userxattr"):
        assert os.listdir(mount / "d") == ["low"]
        for path in ("d", "f"):
            names = [os.fsencode(name) for name in os.listxattr(mount / path)]
            assert {name: os.getxattr(mount / path, name) for name in names} == LIKE_MARKS
