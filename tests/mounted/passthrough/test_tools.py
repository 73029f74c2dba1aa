"""Real tools on an attached host directory give what they give on the host."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

pytestmark = pytest.mark.fuse


def run(*command, cwd):
    """Return what a command prints; it must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(cwd)},
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is missing")


@needs("git")
def test_a_git_work_tree(attach, tmp_path):
    host = tmp_path / "work"
    host.mkdir()
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    run("git", "init", "-q", "-b", "main", cwd=host)
    for number in range(100):
        (host / f"dir{number % 7}").mkdir(exist_ok=True)
        (host / f"dir{number % 7}/f{number}").write_text(f"{number}\n" * number)
    (host / "link").symlink_to("dir1/f1")
    run("git", "add", ".", cwd=host)
    run("git", *identity, "commit", "-qm", "one", cwd=host)
    _, path = attach(host)
    safe = ("-c", f"safe.directory={path}")
    assert run("git", *safe, "status", "--porcelain", cwd=path) == ""
    (path / "dir1/f1").write_text("changed\n")
    (path / "new").write_text("new\n")
    assert run("git", *safe, "status", "--porcelain", cwd=path).split() == [
        *("M", "dir1/f1", "??", "new")
    ]
    run("git", *safe, "add", ".", cwd=path)
    run("git", *safe, *identity, "commit", "-qm", "two", cwd=path)
    run("git", *safe, "checkout", "-q", "-b", "other", "HEAD~1", cwd=path)
    assert not (path / "new").exists()
    run("git", *safe, "merge", "-q", "main", cwd=path)
    run("git", *safe, "gc", "-q", cwd=path)
    run("git", *safe, "fsck", "--strict", cwd=path)
    assert run("git", "status", "--porcelain", cwd=host) == ""
    assert run("git", "log", "--format=%s", cwd=host).split() == ["two", "one"]


def test_a_virtual_environment(attach, tmp_path):
    """Its interpreter is a link that leads out: to where the interpreter is, by `map`."""
    host = tmp_path / "project"
    host.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", host / "venv", cwd=host)
    site = next((host / "venv/lib").glob("python*/site-packages"))
    (site / "package.py").write_text("answer = 42\n")
    question = "import package, sys; print(package.answer, sys.prefix)"
    assert run(host / "venv/bin/python", "-c", question, cwd=host) == f"42 {host}/venv\n"
    interpreter = os.path.dirname(os.path.realpath(sys.executable))
    directories = {interpreter, os.path.dirname(sys.executable), sysconfig.get_path("scripts")}
    maps = ":".join(f"{each}:{each}" for each in sorted(directories))
    _, path = attach(host, "-o", f"links=map={maps}")
    assert run(path / "venv/bin/python", "-c", question, cwd=path) == f"42 {path}/venv\n"
    assert os.access(path / "venv/bin/python", os.X_OK)
    run(sys.executable, "-m", "venv", "--without-pip", path / "made", cwd=path)
    assert (host / "made/pyvenv.cfg").exists()
    assert (path / "made/lib64").resolve() == (path / "made/lib").resolve()


def test_a_virtual_environment_with_its_links_kept(attach, tmp_path):
    host = tmp_path / "project"
    host.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", host / "venv", cwd=host)
    question = "import sys; print(sys.prefix)"
    _, path = attach(host, "--links", "keep")
    assert os.readlink(path / "venv/bin/python") == os.readlink(host / "venv/bin/python")
    assert run(path / "venv/bin/python", "-c", question, cwd=path) == f"{path}/venv\n"


RESOLVE = """
const path = require("path");
const from = process.argv[1];
const answers = {};
for (const name of ["left", "left/deep", "right"])
    answers[name] = require.resolve(name, {paths: [from]});
answers.run = require(require.resolve("left", {paths: [from]}));
console.log(JSON.stringify(answers));
"""


def pnpm_tree(root, store):
    """What pnpm lays out: links to .pnpm, and packages linked to a store outside."""
    modules = root / "node_modules"
    for name, needs_too in (("left", ["right"]), ("right", [])):
        package = store / name
        package.mkdir(parents=True)
        (package / "package.json").write_text(json.dumps({"name": name, "main": "index.js"}))
        body = "".join(f"require({other!r}) + " for other in needs_too)
        (package / "index.js").write_text(f"module.exports = {body}{name!r};\n")
        (package / "deep.js").write_text("module.exports = 1;\n")
        virtual = modules / ".pnpm" / f"{name}@1.0.0/node_modules"
        virtual.mkdir(parents=True)
        (virtual / name).mkdir()
        for file in ("package.json", "index.js", "deep.js"):
            os.link(package / file, virtual / name / file)
        for other in needs_too:
            (virtual / other).symlink_to(f"../../{other}@1.0.0/node_modules/{other}")
        (modules / name).symlink_to(f".pnpm/{name}@1.0.0/node_modules/{name}")


@needs("node")
def test_a_strict_pnpm_tree(attach, tmp_path):
    host, store = tmp_path / "app", tmp_path / "store"
    pnpm_tree(host, store)
    outside = json.loads(run("node", "-e", RESOLVE, host, cwd=host))
    assert outside["run"] == "rightleft"
    _, path = attach(host)
    inside = json.loads(run("node", "-e", RESOLVE, path, cwd=path))
    assert inside == {key: value.replace(str(host), str(path)) for key, value in outside.items()}


@needs("node")
def test_packages_that_are_links_to_a_store_outside(attach, tmp_path):
    host, store = tmp_path / "app", tmp_path / "store"
    pnpm_tree(host, store)
    shutil.rmtree(host / "node_modules")
    (host / "node_modules").mkdir()
    for name in ("left", "right"):
        (host / "node_modules" / name).symlink_to(store / name)
    (store / "left/node_modules").mkdir()
    (store / "left/node_modules/right").symlink_to(store / "right")
    outside = json.loads(run("node", "-e", RESOLVE, host, cwd=host))
    mount, shop = attach(store, "--read-only", name="store")
    _, path = attach(host, "-o", f"links=map={shop}", name="app", mount=mount)
    inside = json.loads(run("node", "-e", RESOLVE, path, cwd=path))
    assert inside == {key: value.replace(str(store), str(shop)) for key, value in outside.items()}


@needs("npm")
@pytest.mark.network
def test_npm_installs_into_it(attach, tmp_path):
    host = tmp_path / "app"
    host.mkdir()
    (host / "package.json").write_text('{"name": "app", "version": "1.0.0"}')
    _, path = attach(host)
    run("npm", "install", "--no-audit", "--no-fund", "left-pad@1.3.0", "semver@7", cwd=path)
    answer = run("node", "-p", "require('left-pad')(1, 3, 0)", cwd=path)
    assert answer == "001\n"
    assert run("node", "-p", "require('left-pad')(1, 3, 0)", cwd=host) == "001\n"
    assert run(path / "node_modules/.bin/semver", "1.2.3", cwd=path) == "1.2.3\n"
    shutil.rmtree(path / "node_modules")
    assert not (host / "node_modules").exists()


@needs("gcc")
def test_gcc_builds_in_it(attach, tmp_path):
    host = tmp_path / "c"
    host.mkdir()
    (host / "main.c").write_text('#include <stdio.h>\nint main(void) { puts("built"); }\n')
    _, path = attach(host)
    run("gcc", "-g", "-o", "main", "main.c", cwd=path)
    assert run(path / "main", cwd=path) == "built\n"
    assert run(host / "main", cwd=host) == "built\n"
