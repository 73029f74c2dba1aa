"""A configuration that is read again while a tree that it keeps is in use, on a real mount."""

from __future__ import annotations

import os
import signal

import pytest

pytestmark = pytest.mark.fuse

READ_AGAIN = "the configuration was read again"


def attachment(prefix: str = "a", name: str | None = "inner", more: str = "") -> str:
    kept = f'persist = "{name}"\n' if name else ""
    return f'[[attach]]\nprefix = "{prefix}"\nsource = "memory"\n{kept}{more}\n'


@pytest.fixture
def following(kept):
    """What writes the file anew, and returns what the daemon logged until it had followed."""
    kept.configure(attachment())
    kept.mount()
    (kept.path / "a" / "file").write_text("kept")

    def follow(more: str, wanted: str = READ_AGAIN) -> str:
        before = len(kept.place.log())
        kept.configure(more)
        os.kill(kept.place.status()["pid"], signal.SIGHUP)
        kept.wait_for_log(wanted, before)
        return kept.place.log()[before:]

    yield follow
    kept.unmount()


def prefixes(kept) -> list[str]:
    return [each["prefix"] for each in kept.place.status()["attachments"]]


def test_nothing_that_changed_nothing_happens(kept, following):
    log = following(attachment())
    assert "stored" not in log
    assert "attached" not in log


def test_a_quota_is_changed_in_place(kept, following):
    with (kept.path / "a" / "file").open("a") as held:
        assert "the quota of a is changed" in following(attachment(more='size = "1M"'))
        found = os.statvfs(kept.path / "a")
        assert found.f_blocks * found.f_frsize == 1 << 20
        held.write(" on")
    assert (kept.path / "a" / "file").read_text() == "kept on"


def test_one_that_differs_is_opened_again_as_it_was(kept, following):
    log = following(attachment(more="read-only = true"))
    assert "stored the kept tree 'inner': 1 files" in log
    assert (kept.path / "a" / "file").read_text() == "kept"
    with pytest.raises(OSError, match="Read-only"):
        (kept.path / "a" / "more").touch()
    following(attachment(more='persist-every = "1s"'))
    before = len(kept.place.log())
    (kept.path / "a" / "more").touch()
    kept.wait_for_log("stored the kept tree 'inner'", before)


def test_one_that_is_in_use_stays_as_it_is(kept, following):
    with (kept.path / "a" / "file").open("a") as held:
        assert "a stays as it is" in following(attachment(more="read-only = true"))
        assert "a stays as it is" in following(attachment("b"))
        assert prefixes(kept) == ["", "a"]
        held.write(" on")
    following(attachment(more="read-only = true"))
    assert (kept.path / "a" / "file").read_text() == "kept on"


def test_one_moves_to_another_prefix(kept, following):
    following(attachment("b/c"))
    assert prefixes(kept) == ["", "b/c"]
    assert (kept.path / "b" / "c" / "file").read_text() == "kept"


def test_two_change_places(kept, following):
    following(attachment() + attachment("b", "other"))
    (kept.path / "b" / "file").write_text("other")
    following(attachment("a", "other") + attachment("b", "inner"))
    assert (kept.path / "a" / "file").read_text() == "other"
    assert (kept.path / "b" / "file").read_text() == "kept"


def test_what_cannot_be_opened_again_goes_back_to_how_it_was(kept, following):
    (kept.path / "a" / "big").write_bytes(b"x" * 100_000)
    log = following(attachment(more='read-only = true\nsize = "4K"'))
    assert "does not fit into its quota any more" in log
    assert (kept.path / "a" / "file").read_text() == "kept"
    (kept.path / "a" / "more").touch()  # writable, as before
    # The file that is wrong is tried again, not taken for what holds.
    assert "does not fit" in following(attachment(more='read-only = true\nsize = "4K"'))
    following(attachment(more='read-only = true\nsize = "4M"'))
    with pytest.raises(OSError, match="Read-only"):
        (kept.path / "a" / "another").touch()


def test_one_that_is_kept_no_more_begins_empty_and_is_there_again_later(kept, following):
    following(attachment(name=None))
    assert os.listdir(kept.path / "a") == []
    following(attachment())
    assert (kept.path / "a" / "file").read_text() == "kept"


def test_one_that_is_gone_from_the_file_is_stored(kept, following):
    assert "stored the kept tree 'inner'" in following("")
    assert prefixes(kept) == [""]
    following(attachment())
    assert (kept.path / "a" / "file").read_text() == "kept"


def test_the_root_is_left_for_the_next_start(kept, following):
    before = len(kept.place.log())
    kept.file.write_text('[provider]\npersist = "another"\n' + attachment())
    os.kill(kept.place.status()["pid"], signal.SIGHUP)
    kept.wait_for_log("changes of persist need a new mount", before)
