"""Bad input: each is one clear sentence, and nothing is left open."""

import gc
import os

import pytest

from providers.passthrough import PassthroughProvider
from providers.passthrough.options import parse_options
from tests.unit.passthrough.serving import served
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"link": "deny"}, "no option 'link'; did you mean 'links'?"),
        ({"symbolic": "deny"}, "no option 'symbolic'; it knows links, threads, guard"),
        ({"links": "allow"}, "links=allow is not understood"),
        ({"links": "map"}, "links=map is not understood"),
        ({"links": "map="}, "an absolute PREFIX"),
        ({"links": "map=store"}, "an absolute PREFIX"),
        ({"links": "map=/a:store"}, "an absolute PREFIX"),
        ({"links": "map=a:/store"}, "an absolute PREFIX"),
        ({"links": "map=/a:/b:"}, "an absolute PREFIX"),
        ({"links": "map=/a:/b:/c"}, "an absolute PREFIX"),
        ({"threads": "4"}, "threads=auto or always or never"),
        ({"guard": "none"}, "guard=auto or openat2 or walk"),
        ({"watch": "on"}, "watch=auto or off"),
        ({"native": "on"}, "native=auto or off"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(UserError, match=r".") as caught:
        parse_options(options)
    assert words in caught.value.message
    assert caught.value.exit_code == ExitCode.USAGE


def test_maps_are_read():
    maps = parse_options({"links": "map=/etc:/v/etc:/var/lib:/v/lib/"}).links.maps
    assert [(each.source, each.prefix) for each in maps] == [
        (b"/etc", b"/v/etc"),
        (b"/var/lib", b"/v/lib"),
    ]
    maps = parse_options({"links": "map=//v/store/"}).links.maps
    assert [(each.source, each.prefix) for each in maps] == [(None, b"/v/store")]
    assert parse_options({"links": "hide"}).links.hide
    assert not parse_options({}).links.hide


async def test_wrong_sources_are_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    gc.collect()  # what earlier tests let go of
    before = len(os.listdir("/proc/self/fd"))
    for source, words in (
        (None, "needs a directory"),
        ("", "needs a directory"),
        (str(tmp_path / "missing"), "does not exist"),
        (str(tmp_path / "file"), "is not a directory"),
        (str(tmp_path / "file/below"), "is not a directory"),
        (str(tmp_path / "loop"), "symbolic links"),
        (str(tmp_path / ("x" * 300)), "too long"),
    ):
        with pytest.raises(UserError, match=words):
            await PassthroughProvider.from_options(source, {})
    with pytest.raises((UserError, ValueError)):
        await PassthroughProvider.from_options(f"{tmp_path}\0", {})
    assert len(os.listdir("/proc/self/fd")) == before


async def test_everything_is_closed_at_the_end(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    gc.collect()  # what earlier tests let go of
    before = len(os.listdir("/proc/self/fd"))
    for threads in ("never", "always"):
        async with served(tmp_path, threads=threads) as files:
            await files.put(b"a/b/c/f", b"data")
            await files.names(b"a/b")
            assert len(os.listdir("/proc/self/fd")) > before
        del files
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # trio's own may come once
