"""A project with a compiler, bundlers, a linter, a test runner and a native add-on, from npm.

It is installed once, with the network, and forked for each test, without it.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from tests.sandbox.toolchains.conftest import Project

pytestmark = [pytest.mark.bwrap, pytest.mark.network]

PACKAGE = """
{ "name": "project", "version": "1.0.0", "private": true, "type": "module",
  "scripts": {
    "test": "vitest run",
    "build": "tsc --noEmit && eslint src && npm run bundle && vite build && node image.js",
    "bundle": "esbuild src/index.ts --bundle --format=esm --outfile=out/bundle.js"
  },
  "devDependencies": {
    "typescript": "5.6.3", "esbuild": "0.21.5", "eslint": "9.15.0", "vite": "5.4.11",
    "vitest": "2.1.8", "sharp": "0.33.5"
  } }
"""
FILES = {
    "package.json": PACKAGE,
    "tsconfig.json": '{"compilerOptions": {"strict": true, "module": "esnext", "target": "es2022",'
    ' "moduleResolution": "bundler", "skipLibCheck": true}, "include": ["src"]}',
    "src/twice.ts": "export function twice(n: number): number { return 2 * n; }\n",
    "src/index.ts": 'import { twice } from "./twice"; console.log(twice(21));\n',
    "src/plain.js": "export const one = 1;\n",
    "index.html": '<script type="module" src="/src/index.ts"></script>\n',
    "eslint.config.js": 'export default [{ rules: { "no-unused-vars": "error" } }];\n',
    "test/twice.test.ts": 'import { expect, test } from "vitest";\n'
    'import { twice } from "../src/twice";\n'
    'test("twice", () => expect(twice(2)).toBe(4));\n',
    "image.js": 'import sharp from "sharp";\n'
    'const image = { width: 8, height: 8, channels: 3, background: "red" };\n'
    'await sharp({ create: image }).png().toFile("out/red.png");\n',
}
START_S = 60.0


@pytest.fixture(scope="session")
def project(new_project, npm) -> Project:
    project = new_project("npm", FILES)
    project.fetch("locked", "--", "npm", "install", "--package-lock-only", "--no-audit")
    project.fetch("warm", "--from", "locked", "--", "npm", "ci", "--no-audit", "--no-fund")
    return project


def test_tests_run_in_a_fork(project, engine):
    assert "1 passed" in project.run("--engine", engine, "--from", "warm", "--", "npm", "test")


def test_a_build_with_all_of_them(project, engine):
    script = (
        "npm run build >&2 && node out/bundle.js && ls dist/index.html"
        " && head -c 4 out/red.png | tail -c 3"
    )
    said = project.run("--engine", engine, "--from", "warm", "--", "sh", "-c", script)
    assert said == "42\ndist/index.html\nPNG"
    # Nothing of it reached the project, or the snapshot.
    assert not (project.path / "out").exists()
    assert not (project.path / "node_modules").exists()
    assert project.run("--from", "warm", "--", "sh", "-c", "ls out 2>&1; :").startswith("ls: ")


def test_what_is_wrong_is_found(project):
    """The tools do their work, and their exit codes arrive."""
    script = "echo 'const unused = 1;' >>src/plain.js; npx eslint src >&2 || echo found $?"
    assert project.run("--from", "warm", "--", "sh", "-c", script) == "found 1\n"
    script = "echo 'twice(true);' >>src/twice.ts; npx tsc --noEmit >&2 || echo found $?"
    assert project.run("--from", "warm", "--", "sh", "-c", script) == "found 2\n"


def test_a_server_for_development_is_published(project):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = ["--quiet", "--from", "warm", "--publish", f"{port}:5173", "--"]
    running = subprocess.Popen(
        project.words(*words, "npx", "vite", "--port", "5173", "--strictPort"),
        cwd=project.path, env=project.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}/src/twice.ts"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        until_s = time.monotonic() + START_S
        while True:
            try:
                with opener.open(address, timeout=START_S) as answer:
                    assert b"return 2 * n" in answer.read()
                break
            except OSError:
                assert time.monotonic() < until_s
                time.sleep(0.05)
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 143


def test_through_a_proxy_to_the_registry_and_nowhere_else(project, kept):
    """`npm view` through `--allow-host`; some networks lead names to addresses of their own."""
    configured = ["npm", "config", "get", "registry"]
    registry = subprocess.run(configured, capture_output=True, text=True, check=True).stdout
    host = registry.split("://")[1].split("/")[0]
    places = {str(each[4][0]) for each in socket.getaddrinfo(host, 443, socket.AF_INET)}
    allowed = [word for each in (host, *places) for word in ("--allow-host", each)]
    words = ("--", "npm", "view", "ms@2.1.3", "version", "--no-update-notifier")
    assert project.run(*allowed, *words).strip() == "2.1.3"
    refused = subprocess.run(
        project.words("--allow-host", "example.org", *words, "--fetch-retries=0"),
        cwd=project.path, env=project.environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert refused.returncode != 0
    assert f"{host}:443 is not allowed" in refused.stderr


def test_the_strict_layout_of_pnpm(new_project, npm):
    package = '{"name": "strict", "private": true, "dependencies": {"debug": "4.3.7"}}'
    project = new_project("pnpm", {"package.json": package})
    install = ("npx", "--yes", "pnpm@9.15.0", "install", "--store-dir", "/fetched/pnpm")
    project.fetch("strict", "--", *install)
    script = (
        "console.log(typeof require('debug'));"
        "try { require('ms'); console.log('reached') } catch (error) { console.log(error.code) }"
    )
    said = project.run("--from", "strict", "--", "node", "-e", script)
    assert said == "function\nMODULE_NOT_FOUND\n"
    linked = project.run("--from", "strict", "--", "readlink", "node_modules/debug")
    assert linked == ".pnpm/debug@4.3.7/node_modules/debug\n"
