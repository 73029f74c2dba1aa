"""Programs run straight from an attached archive: ELF, shared libraries, python, node, add-ons."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.fuse

MAIN = """
#include <stdio.h>
int answer(void);
int main(void) { printf("%d\\n", answer()); return 0; }
"""
LIBRARY = "int answer(void) { return 42; }\n"
ADDON = """
typedef void *napi_env; typedef void *napi_value; typedef int napi_status;
typedef void *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
napi_status napi_create_int32(napi_env, int, napi_value *);
napi_status napi_create_function(napi_env, const char *, unsigned long, napi_callback, void *,
                                 napi_value *);
static napi_value answer(napi_env env, napi_callback_info info) {
    napi_value made;
    napi_create_int32(env, 42, &made);
    return made;
}
__attribute__((visibility("default")))
napi_value napi_register_module_v1(napi_env env, napi_value exports) {
    napi_value made;
    napi_create_function(env, "answer", 6, answer, 0, &made);
    return made;
}
"""


def run(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def built(tmp_path):
    """A program and the shared library that it needs, made here."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "library.c").write_text(LIBRARY)
    library = tree / "libanswer.so"
    run("gcc", "-shared", "-fPIC", "-o", library, tmp_path / "library.c")
    run("gcc", "-o", tree / "main", tmp_path / "main.c", library, "-Wl,-rpath,$ORIGIN")
    return tree


@pytest.mark.parametrize("method", ["zstd", "none"])
def test_a_program_and_its_library(attach, built, method):
    _, path = attach(built, "--compress", method)
    assert run(path / "main") == "42\n"
    # In another process: a library that is loaded is a file that is open.
    load = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).answer())"
    assert run(sys.executable, "-c", load, path / "libanswer.so") == "42\n"
    assert os.access(path / "main", os.X_OK)


def test_python_and_a_script(attach, tmp_path):
    tree = tmp_path / "tree"
    (tree / "package").mkdir(parents=True)
    (tree / "package" / "__init__.py").write_text("from package.inner import value\n")
    (tree / "package" / "inner.py").write_text("value = 42\n")
    script = tree / "script"
    script.write_text(f"#!{sys.executable} -B\nimport package\nprint(package.value)\n")
    script.chmod(0o755)
    _, path = attach(tree)
    assert run(path / "script") == "42\n"
    assert run(sys.executable, "-B", "-c", "import package; print(package.value)", cwd=path) == (
        "42\n"
    )


@pytest.fixture
def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is missing")
    return found


def test_node_and_a_native_addon(attach, built, node, tmp_path):
    (tmp_path / "addon.c").write_text(ADDON)
    module = built / "node_modules" / "addon"
    module.mkdir(parents=True)
    run("gcc", "-shared", "-fPIC", "-o", module / "build.node", tmp_path / "addon.c")
    (module / "package.json").write_text('{"name": "addon", "main": "index.js"}')
    (module / "index.js").write_text("module.exports = require('./build.node');\n")
    (built / "main.mjs").write_text("import answer from 'addon'; console.log(answer());\n")
    _, path = attach(built)
    assert run(node, path / "main.mjs") == "42\n"


def test_npm_test_through_the_overlay(vfsd_mount, tmp_path, node):
    """A packed project is tested where it stands; what the tests write goes to memory."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text(
        '{"name": "project", "version": "1.0.0", "scripts": {"test": "node test.js"}}'
    )
    (project / "test.js").write_text(
        "const fs = require('fs'), assert = require('assert');\n"
        "assert.equal(require('./value'), 42);\n"
        "fs.writeFileSync('report.txt', 'passed');\n"
        "fs.appendFileSync('value.js', '// seen');\n"
    )
    (project / "value.js").write_text("module.exports = 42;\n")
    archive = tmp_path / "project.vfsa"
    words = [sys.executable, "-m", "vfsd", "pack", project, "-o", archive]
    run(*words, env={**os.environ, "PYTHONPATH": os.getcwd()})
    before = archive.read_bytes()
    mount = vfsd_mount("overlay", "-o", f"lower={archive}")
    run("npm", "test", cwd=mount.path, env={**os.environ, "HOME": str(tmp_path)})
    assert (mount.path / "report.txt").read_text() == "passed"
    assert (mount.path / "value.js").read_text() == "module.exports = 42;\n// seen"
    assert archive.read_bytes() == before
