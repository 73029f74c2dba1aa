"""An overlay as its users have it: the command line, tools, mmap, and edits on the host."""

import mmap
import os
import subprocess
from pathlib import Path

import pytest

from tests.mounted.daemon import VfsdMount
from tests.mounted.passthrough.attached import attach, eventually
from vfsd.exitcodes import ExitCode

__all__ = ["attach"]

pytestmark = pytest.mark.fuse


@pytest.fixture
def layers(tmp_path):
    """Two directories: `top` hides a file of `base`; one has a colon in its name."""
    base, top = tmp_path / "ba:se", tmp_path / "top"
    for path in (base / "d", base / "node_modules/a/b", top / "d"):
        path.mkdir(parents=True)
    (base / "d/f").write_bytes(b"base")
    (base / "d/only").write_bytes(b"only in base")
    (base / "node_modules/a/b/index.js").write_bytes(b"module")
    (base / "large").write_bytes(os.urandom(1 << 20))
    (top / "d/f").write_bytes(b"top")
    os.symlink("/etc", base / "out")
    return base, top


def options(top, base, **more):
    escaped = str(base).replace(":", "\\:")
    given = ["-o", f"lower={top}", "-o", f"lower={escaped}"]
    return [*given, *(part for key, value in more.items() for part in ("-o", f"{key}={value}"))]


def shell(directory, script):
    done = subprocess.run(
        ["sh", "-ec", script], cwd=directory, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def describe(directory):
    return shell(directory, "find . -printf '%P %y %m %s %l\\n' | grep -v ' d ' | sort")


def test_lowers_by_several_options(layers, attach):
    base, top = layers
    mount, path = attach("overlay", *options(top, base))
    assert shell(path, "cat d/f d/only; readlink out") == "toponly in base/etc\n"
    shell(path, "echo more >> d/only; rm d/f; mv node_modules moved; mkdir node_modules")
    assert shell(path, "ls node_modules; cat moved/a/b/index.js; ls d") == "moduleonly\n"
    assert (base / "d/only").read_bytes() == b"only in base"
    assert (top / "d/f").exists()
    assert "overlay (memory" in mount.vfsd("status").stdout


def test_relative_sources_and_a_directory_to_write_to(layers, vfsd_mount):
    base, _ = layers
    mount = vfsd_mount()
    (mount.root / "changes").mkdir()
    os.symlink(base, mount.root / "base")
    done = mount.vfsd(
        *("attach", "overlay", str(mount.path / "app"), "-o", "lower=base", "-o", "upper=changes")
    )
    assert done.returncode == 0, done.stderr
    shell(mount.path / "app", "echo new > d/new; rm d/f")
    assert mount.vfsd("detach", str(mount.path / "app")).returncode == 0
    assert shell(mount.root / "changes/layers/1/d", "cat new; stat -c %F f") == (
        "new\ncharacter special file\n"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "at least one lower"),
        (["lower=/nowhere"], "/nowhere does not exist"),
        (["lower=memory", "upper=/nowhere"], "/nowhere does not exist"),
        (["lower=memory", "marks=odd"], "marks=odd"),
        (["lower=memory", "color=red"], "no option 'color'"),
        (["lower=memory", "upper=none", "size=1M"], "size= limits an upper in memory"),
        (["lower=memory", "size=lots"], "size=lots"),
    ],
)
def test_wrong_options_are_explained(given, said, vfsd_mount):
    mount = vfsd_mount()
    arguments = [part for each in given for part in ("-o", each)]
    done = mount.vfsd("attach", "overlay", str(mount.path / "app"), *arguments)
    assert said in done.stderr
    assert done.returncode in (ExitCode.USAGE, ExitCode.NOT_FOUND)
    assert not (mount.path / "app").exists()


def test_an_upper_that_is_something_else_is_refused(layers, vfsd_mount):
    base, top = layers
    mount = vfsd_mount()
    done = mount.vfsd("attach", "overlay", str(mount.path / "app"), *options(top, base, upper=base))
    assert done.returncode == ExitCode.REFUSED
    assert "no overlay's upper" in done.stderr


def test_a_full_upper(layers, attach):
    base, top = layers
    _, path = attach("overlay", *options(top, base, size="1M"))
    with pytest.raises(OSError, match="No space left"):
        (path / "new").write_bytes(bytes([1]) * (2 << 20))
    assert (path / "large").read_bytes() == (base / "large").read_bytes()
    os.unlink(path / "new")
    with open(path / "large", "r+b") as file:
        file.write(b"small change")
    (path / "d/f").write_bytes(b"room again")


@pytest.mark.parametrize("upper", ["memory", "directory"])
def test_shared_maps_over_a_copied_file(layers, attach, tmp_path, upper):
    base, top = layers
    (tmp_path / "upper").mkdir()
    where = {"upper": "memory" if upper == "memory" else str(tmp_path / "upper")}
    _, path = attach("overlay", *options(top, base, **where))
    content = bytearray((base / "large").read_bytes())
    with open(path / "large", "rb") as reader:
        seen = mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ)
        assert seen[:100] == content[:100]
        with open(path / "large", "r+b") as file:
            changed = mmap.mmap(file.fileno(), 0)
            for place in (0, 70_000, len(content) - 5):
                changed[place : place + 5] = content[place : place + 5] = b"mmap!"
            changed.flush()
            changed.close()
        assert seen[:] == content
        assert os.pread(reader.fileno(), 10, 70_000) == content[70_000:70_010]
        seen.close()
    assert (path / "large").read_bytes() == content
    assert (base / "large").read_bytes() != content


def test_host_edits_show_unless_the_upper_has_the_file(layers, attach):
    base, top = layers
    _, path = attach("overlay", *options(top, base))
    assert (path / "d/only").read_bytes() == b"only in base"
    (path / "d/f").write_bytes(b"mine")
    assert not (path / "d/new").exists()
    (base / "d/new").write_bytes(b"from the host")
    eventually(lambda: (path / "d/new").exists(), "a new file")
    (base / "d/only").write_bytes(b"edited")
    eventually(lambda: (path / "d/only").read_bytes() == b"edited", "an edit")
    (top / "d/f").write_bytes(b"hidden")
    os.unlink(base / "d/new")
    eventually(lambda: not (path / "d/new").exists(), "a removal")
    assert (path / "d/f").read_bytes() == b"mine"


def test_git_works_on_a_lower_repository(tmp_path, attach):
    base = tmp_path / "repository"
    base.mkdir()
    git = "git -c user.name=a -c user.email=a@example.org -c gc.auto=0"
    shell(base, f"git init -q; seq 50 | split -l 1 - f; git add .; {git} commit -qm one")
    before = shell(base, "find . -type f | xargs sha1sum | sort")
    _, path = attach("overlay", *options(base, base))
    shell(path, f"git mv faa moved; echo x >> fab; rm fac; {git} commit -qam two")
    shell(path, "mv .git other; mv other .git; git fsck --strict; git checkout -q HEAD~1")
    assert shell(path, "git status --porcelain") == ""
    assert shell(base, "find . -type f | xargs sha1sum | sort") == before


def test_a_killed_daemon_leaves_what_was_acknowledged(layers, tmp_path, vfsd_mount):
    base, top = layers
    upper = tmp_path / "upper"
    upper.mkdir()
    mount = VfsdMount()
    try:
        path = mount.path / "app"
        attach = ("attach", "overlay", str(path), *options(top, base, upper=upper))
        assert mount.vfsd(*attach).returncode == 0
        shell(path, "rm -r node_modules; mkdir node_modules; echo 1 > node_modules/x; mv d e")
        shown = describe(path)
        mount.process.kill()
        mount.process.wait()
    finally:
        mount._destroy()
    again = vfsd_mount()
    path = again.path / "app"
    assert again.vfsd("attach", "overlay", str(path), *attach[3:]).returncode == 0
    assert describe(path) == shown
    assert again.vfsd("detach", str(path)).returncode == 0
    assert os.listdir(Path(upper) / "work") == []
