"""Who opens a lower file to write to it gets the handle by which it was copied."""

import errno
import os
from pathlib import Path

import pytest

from providers.overlay import OverlayProvider, copyup
from providers.passthrough import PassthroughProvider
from vfsd.conformance import Files
from vfsd.provider import Identity

ROOT = Identity(0, 0)


@pytest.fixture
async def files(tmp_path):
    (tmp_path / "lower").mkdir()
    (tmp_path / "upper").mkdir()
    (tmp_path / "lower" / "f").write_bytes(b"0123456789")
    lower = await PassthroughProvider.from_options(str(tmp_path / "lower"), {})
    upper = await PassthroughProvider.from_options(str(tmp_path / "upper"), {"watch": "off"})
    provider = await OverlayProvider.over(upper, [lower])
    yield Files(provider)
    await provider.aclose()


def open_files(tmp_path):
    """Count the files of the upper that this process has open for more than their place."""
    fds = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            flags = Path(f"/proc/self/fdinfo/{fd}").read_text().split("flags:")[1].split()[0]
            path = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if path.startswith(str(tmp_path)) and not int(flags, 8) & os.O_PATH:
            fds.append(path)
    return fds


@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDWR])
@pytest.mark.parametrize("append", [0, os.O_APPEND])
async def test_it_does_what_its_flags_say(files, tmp_path, access, append):
    node = await files.node(b"f")
    handle = await files.provider.open(node, access | append, ROOT)
    assert open_files(tmp_path) == [str(tmp_path / "upper" / "layers" / "1" / "f")]
    assert await handle.write(2, b"xy") == 2
    expected = b"0123456789xy" if append else b"01xy456789"
    if access == os.O_RDWR:
        assert bytes(await handle.read(0, 99)) == expected
    else:
        with pytest.raises(OSError) as refused:
            await handle.read(0, 99)
        assert refused.value.errno == errno.EBADF
    await handle.release()
    assert await files.get(b"f") == expected
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("flags", [os.O_RDONLY | os.O_APPEND, os.O_RDONLY | os.O_TRUNC])
async def test_what_was_not_opened_for_writing_does_not_write(files, flags):
    node = await files.node(b"f")
    handle = await files.provider.open(node, flags, ROOT)
    with pytest.raises(OSError) as refused:
        await handle.write(0, b"xy")
    assert refused.value.errno == errno.EBADF
    await handle.release()
    assert await files.get(b"f") == (b"" if flags & os.O_TRUNC else b"0123456789")


async def test_setuid_falls_when_somebody_else_writes_by_it(files, tmp_path):
    os.chmod(tmp_path / "lower" / "f", 0o6777)
    node = await files.node(b"f")
    handle = await files.provider.open(node, os.O_WRONLY, Identity(1000, 1000))
    await handle.write(0, b"x")
    await handle.release()
    assert (await files.stat(b"f")).mode & 0o7777 == 0o777


async def test_it_is_closed_if_the_copy_does_not_come_into_place(files, tmp_path, monkeypatch):
    async def fail(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(copyup, "_publish", fail)
    node = await files.node(b"f")
    with pytest.raises(OSError) as failed:
        await files.provider.open(node, os.O_WRONLY, ROOT)
    assert failed.value.errno == errno.ENOSPC
    assert open_files(tmp_path) == []
    assert os.listdir(tmp_path / "upper" / "work") == []
