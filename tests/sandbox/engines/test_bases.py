"""What a command works on: found, named, fetched, unpacked, or refused."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from vfsd.archive.growing import Attributes
from vfsd.archive.outfile import OutFile
from vfsd.archive.writer import ArchiveWriter
from vfsd.errors import UserError
from vfsd.sandbox import gitbase
from vfsd.sandbox.projects import project_root

from .conftest import Person

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "init.defaultBranch=main")


def test_all_of_the_project_is_there_and_the_directory_is_kept(person):
    person.write("package.json", "{}")
    person.write("packages/one/index.js", "1")
    inner = person.path / "packages" / "one"
    seen = person.sh("pwd; ls; ls ../..", cwd=inner)
    assert seen == f"{inner}\nindex.js\npackage.json\npackages\n"


@pytest.mark.parametrize(
    ("made", "start", "root"),
    [
        ([".git/", "a/package.json"], "a/b", "."),
        ([".git", "a/b/"], "a/b", "."),
        (["pnpm-workspace.yaml", "a/package.json"], "a/b", "."),
        (["package.json", "a/pyproject.toml"], "a/b", "a"),
        (["a/Makefile"], "a/b", "a"),
        (["a/b/"], "a/b", "a/b"),
        (["package.json", "a/.git/"], "a/b", "a"),
    ],
)
def test_the_rule(tmp_path, monkeypatch, made, start, root):
    monkeypatch.setenv("HOME", str(tmp_path))
    top = tmp_path / "top"
    for name in made:
        path = top / name
        path.mkdir(parents=True) if name.endswith("/") else path.parent.mkdir(
            parents=True, exist_ok=True
        )
        if not name.endswith("/"):
            path.touch()
    (top / start).mkdir(parents=True, exist_ok=True)
    assert project_root(str(top / start)) == os.path.normpath(top / root)


def test_what_no_project_is(tmp_path, monkeypatch):
    """A home directory, also one that is a repository; a place that everybody may write to."""
    home = tmp_path / "home"
    shared = tmp_path / "shared"
    for place in (home, shared):
        (place / "here").mkdir(parents=True)
        (place / ".git").mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert project_root(str(home / "here")) == str(home / "here")
    shared.chmod(0o1777)
    assert project_root(str(shared / "here")) == str(shared / "here")
    if os.geteuid() == 0:
        shared.chmod(0o755)
        os.chown(shared, 65534, -1)
        assert project_root(str(shared / "here")) == str(shared / "here")


def test_a_directory_that_is_named_is_all_there_is(person, engine):
    person.write("inner/file", "x")
    person.write("beside")
    seen = person.sh("pwd; ls; ls ..", "--engine", engine, "--base", person.path / "inner")
    assert seen == f"{person.path}/inner\nfile\ninner\n"


def test_a_map_of_files(person, engine):
    files = {
        "src/main.txt": "text\n",
        "run.sh": {"text": "#!/bin/sh\necho ran\n", "executable": True},
        "bytes": {"base64": "AP8="},
        "empty/": None,
    }
    script = (
        "pwd; find . -mindepth 1 | sort; cat src/main.txt; ./run.sh; od -An -tx1 bytes; rm -r *"
    )
    wanted = "/work\n./bytes\n./empty\n./run.sh\n./src\n./src/main.txt\ntext\nran\n 00 ff\n"
    words = ("--engine", engine, "--files")
    assert person.sh(script, *words, "-", input=json.dumps(files)) == wanted
    name = person.write("map.json", json.dumps(files))
    assert person.sh(script, *words, name) == wanted
    assert os.listdir(person.runs) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", '{"a": 1}', '{"../a": "x"}', '{"/a": "x"}', '{"a//b": "x"}', '{".": "x"}'),
        *('{"a": "x", "a/b": "y"}', '{"a/": "x"}', '{"a": {"text": "x", "base64": ""}}'),
        *(
            '{"a": {"base64": "?"}}',
            '{"a": {"text": "x", "mode": 1}}',
            '{"a\\u0000b": "x"}',
            '{"": "x"}',
        ),
        "[" * 100_000,
    ],
    ids=[str(number) for number in range(16)],
)
def test_what_is_no_map_of_files(person, text):
    if person.become:
        pytest.skip("the same for everybody")
    said = person.vfsd("run", "--files", "-", "--", "touch", "ran", code=125, input=text)
    assert said.startswith(
        "vfsd: -: " if text not in ("[]", "", "{", "[" * 100_000) else "vfsd: - "
    )
    assert len(said.splitlines()) == 1
    assert os.listdir(person.path) == []
    assert os.listdir(person.runs) == []


def test_an_archive(person, engine):
    name = person.root / "app.vfsa"
    uid, gid = os.stat(person.path).st_uid, os.stat(person.path).st_gid
    with OutFile(name) as out, ArchiveWriter(out.fd) as writer:
        for path in (b"", b"dir"):
            writer.add_directory(path, Attributes(stat.S_IFDIR | 0o755, uid, gid))
        writer.add_file(b"dir/file", Attributes(stat.S_IFREG | 0o644, uid, gid), [b"packed\n"])
        writer.finish()
        out.commit()
    person.own()
    script = "pwd; cat dir/file; echo more >>dir/file; cat dir/file"
    words = ("--engine", engine, "--base", name)
    assert person.sh(script, *words) == "/work\npacked\npacked\nmore\n"
    assert person.sh("cat dir/file", *words) == "packed\n"
    assert os.listdir(person.runs) == []


@pytest.fixture
def repository(person: Person) -> Path:
    """Two commits: "one", with the tag v1, and "two", at the head of main."""
    path = person.root / "repository"
    path.mkdir()

    def git(*words: str) -> None:
        subprocess.run([*GIT, *words], cwd=path, check=True, capture_output=True)

    git("init", "-q")
    for text in ("one", "two"):
        (path / "file").write_text(f"{text}\n")
        git("add", "file")
        git("commit", "-qm", text)
        if text == "one":
            git("tag", "v1")
            git("branch", "feature/x")
    person.own()
    return path


def commit(repository: Path, name: str) -> str:
    words = [*GIT, "-c", "safe.directory=*", "rev-parse", name]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_branch_a_tag_and_a_commit(person, repository):
    for url in (f"git+file://{repository}", f"git+{repository}"):
        for ref, text in (
            ("", "two"), ("@main", "two"), ("@v1", "one"), ("@feature/x", "one"),
            ("@" + commit(repository, "v1"), "one"),
        ):  # fmt: skip
            seen = person.sh("pwd; cat file; git log --format=%s", "--base", url + ref)
            assert seen == f"/work\n{text}\n{text}\n", (url, ref)


@pytest.mark.parametrize("kind", ["git", "files", "archive"])
def test_a_snapshot_of_what_is_no_directory_is_complete(person, engine, repository, kind):
    """The cache, the map and the archive may go; forks of forks still have all of it."""
    person.write("packed/file", "one\n")
    named = {
        "git": ("--base", f"git+{repository}@v1"),
        "files": ("--files", str(person.write("map.json", '{"file": "one\\n"}'))),
        "archive": ("--base", f"{person.root}/project/packed.vfsd"),
    }[kind]
    person.vfsd("pack", "packed", "-o", "packed.vfsd")
    person.sh("echo new >new", "--engine", engine, *named, "--save", "warm")
    shutil.rmtree(person.root / "cache", ignore_errors=True)
    for name in ("packed.vfsd", "map.json"):
        (person.path / name).unlink(missing_ok=True)
    assert person.sh("cat file new", "--engine", engine, "--from", "warm") == "one\nnew\n"
    person.sh("rm new", "--engine", engine, "--from", "warm", "--save", "later")
    person.vfsd("snapshot", "rm", "warm")
    assert person.sh("cat *", "--engine", engine, "--from", "later") == "one\n"
    person.vfsd("snapshot", "verify", "later")


def test_only_a_directory_is_written_to_itself(person, repository):
    """A checkout in the cache is for every run that names the commit."""
    words = ("--write", "--base", f"git+{repository}", "--", "sh", "-c", "echo x >>file")
    assert "--write is for a directory" in person.vfsd("run", *words, code=125)
    assert "x" not in person.sh("cat file", "--base", f"git+{repository}")


def test_a_repository_that_cannot_be_reached(person, repository):
    url, first = f"git+file://{repository}", commit(repository, "v1")
    person.sh("true", "--base", f"{url}@v1")
    repository.rename(repository.parent / "gone")
    done = person.done("run", "--base", f"{url}@v1", "--", "cat", "file")
    assert done.stdout == "one\n"
    assert f"v1 is {first[:12]}, as it was last" in done.stderr
    assert person.sh("cat file", "--base", f"{url}@{first}", "--quiet") == "one\n"
    said = person.vfsd("run", "--base", f"{url}@main", "--", "true", code=125)
    assert "cannot be fetched" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        *(
            "git+--upload-pack=touch x",
            "git+-x/y",
            "git+ext::sh -c touch% x",
            "git+fd::7/x",
            "git+",
        ),
        *("git+ssh://-oProxyCommand=x/y", "git+https://h/r@--upload-pack=x", "git+https://h/r@-x"),
        *("git+https://h/r@a..b", "git+https://h/r@a b", "git+https://h/r@a:b", "git+gopher://h/r"),
        *("git+https://h/r@a@{1}", "git+https://h/r@HEAD~1", "git+https://h/r@a\nb"),
    ],
)
def test_what_git_must_not_be_given(text):
    with pytest.raises(UserError) as refusal:
        gitbase.read(text)
    assert refusal.value.exit_code == 125


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--base", "missing"], "does not exist"),
        (["--base", "/etc/shadow"], ""),
        (["--base", "snapshot:none"], "no snapshot 'none'"),
        (["--from", "none"], "no snapshot 'none'"),
        (["--from", "../x"], ""),
        (["--engine", "docker"], "there is no engine 'docker'"),
        (["--at", "work"], "not an absolute path"),
        (["--at", "/proc/x"], "the sandbox's own"),
        (["--at", "/usr"], "the sandbox's own"),
        (["--files", "missing"], "cannot be read"),
        (["--files", "x", "--base", "y"], "give one of them"),
        (["--from", "x", "--base", "y"], "leave --base out"),
        (["--save", "a/b"], ""),
        (["--replace", "--apply"], "for --save"),
        (["--write", "--save", "x"], "nothing to keep"),
        (["--engine", "fuse", "--disk", "1M", "--save", "x"], "takes the kernel engine"),
        (["--apply", "--files", "files.json"], "stands on none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_changes_nothing(person, words, said):
    person.write("files.json", "{}")
    told = person.vfsd("run", *words, "--", "touch", "ran", code=125)
    assert said in told
    assert told.startswith("vfsd: ")
    assert len(told.splitlines()) == 1
    assert os.listdir(person.path) == ["files.json"]
    assert not (person.root / "state/vfsd/store/snapshots").exists() or not os.listdir(
        person.root / "state/vfsd/store/snapshots"
    )


def test_without_user_namespaces_it_is_said(person, engine):
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    if person.become:
        pytest.skip("who makes the namespace that allows none is root in it")
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*words, *person.words("run", "--engine", engine, "--", "touch", "ran")],
        cwd=person.path, env=person.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 125
    assert "vfsd doctor" in done.stderr
    assert os.listdir(person.path) == []
