"""Real jobs of a few seconds each: compilers, a bundler and test runners, in one project.

tsc checks the demo's project; esbuild bundles ten copies of three.js, which is its own published
benchmark and takes it less than a second, and thirty; vitest and pytest run suites that do some
work, pytest more-itertools' own; gcc compiles the C libraries brotli, zopfli and lz4, some fifty
files. A job of a few milliseconds stands beside them, to show a start.

What cannot be had is said, and left out. npm and pip fetch it once, into the user's cache.

Concurrency: called before anything is timed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from downloads import fetched

ROOT = Path(__file__).resolve().parents[1]
FURTHER = ("esbuild@0.25.9", "vitest@2.1.9", "three@0.180.0")
"""What the demo's project does not use itself."""
COPIES = (10, 30)
SUITES, TESTS = 24, 10
VITEST = (
    "import {{ expect, test }} from 'vitest';\n"
    "import ts from 'typescript';\n"
    "import {{ readFileSync }} from 'node:fs';\n"
    "const source = readFileSync('src/report.ts', 'utf8');\n"
    "for (let each = 0; each < {tests}; each++)\n"
    "  test('transpile {suite} ' + each, () =>\n"
    "    expect(ts.transpileModule(source, {{}}).outputText.length).toBeGreaterThan(100));\n"
)
MAKEFILE = """\
CFLAGS = -O2 -w -Ibrotli/c/include
OBJECTS := $(patsubst %.c,%.o,$(shell find . -name '*.c'))
all: $(OBJECTS)
clean:
	rm -f $(OBJECTS)
"""
C_LIBRARIES = {
    "brotli==1.1.0": ("c/common", "c/dec", "c/enc", "c/include"),
    "zopfli==0.2.3.post1": ("zopfli/src/zopfli",),
    "lz4==4.4.4": ("lz4libs",),
}
PYTEST_COMMAND = (
    "PYTHONPATH=../site /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/test_recipes.py"
)
SUITE = "more-itertools==10.8.0"
PYTEST = ("_pytest", "pytest", "py.py", "pluggy", "iniconfig", "packaging", "pygments")


class Job(NamedTuple):
    """A command of a shell, to be run in the project."""

    name: str
    script: str


def prepared(project: Path) -> Iterator[Job]:
    """Yield the jobs that can be done, after making what they work on in the empty `project`."""
    shutil.copytree(ROOT / "demo" / "ts-project", project, dirs_exist_ok=True)
    for words in (("ci",), ("install", "--no-save", *FURTHER)):
        subprocess.run(
            ["npm", *words, "--no-audit", "--no-fund"], cwd=project, check=True, capture_output=True
        )
    yield Job("tsc", "node node_modules/typescript/bin/tsc --noEmit -p .")
    esbuild = "rm -rf out && node_modules/.bin/esbuild"
    yield Job("esbuild, three files", f"{esbuild} src/*.ts --format=esm --outdir=out")
    _copies_of_three(project)
    for copies in COPIES:
        yield Job(
            f"esbuild, {copies} x three.js",
            f"{esbuild} --bundle --minify --sourcemap three/entry{copies}.js --outfile=out/3.js",
        )
    for suite in range(SUITES):
        text = VITEST.format(suite=suite, tests=TESTS)
        (project / f"suite{suite}.test.mjs").write_text(text)
    yield Job("vitest", "node_modules/.bin/vitest run suite")
    for name, prepare, script in (
        (
            "pytest",
            _pytest,
            f"cd suite && {PYTEST_COMMAND}",
        ),
        ("gcc", _libraries, "make -s -C c clean && make -s -j2 -C c"),
    ):
        missing = prepare(project)
        if missing is None:
            yield Job(name, f"export PYTHONDONTWRITEBYTECODE=1; {script}")
        else:
            print(f"  {name}: left out, since {missing}")


def _copies_of_three(project: Path) -> None:
    (project / "three").mkdir()
    lines = []
    for number in range(max(COPIES)):
        shutil.copytree(project / "node_modules/three/src", project / f"three/copy{number}")
        lines.append(f"import * as copy{number} from './copy{number}/Three.js'\n")
        lines.append(f"export {{ copy{number} }}\n")
    for copies in COPIES:
        (project / f"three/entry{copies}.js").write_text("".join(lines[: 2 * copies]))


def _pytest(project: Path) -> str | None:
    missing = fetched(SUITE, ("more_itertools", "tests"), project / "suite")
    site = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    (project / "site").mkdir()
    for name in PYTEST:
        copy = shutil.copytree if (site / name).is_dir() else shutil.copy
        copy(site / name, project / "site" / name)
    return missing


def _libraries(project: Path) -> str | None:
    for requirement, folders in C_LIBRARIES.items():
        missing = fetched(requirement, folders, project / "c" / requirement.partition("=")[0])
        if missing is not None:
            return missing
    (project / "c" / "Makefile").write_text(MAKEFILE)
    return None
