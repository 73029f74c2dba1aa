"""A virtual environment with pytest in it, installed with the network and used without."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.bwrap, pytest.mark.network]

FILES = {
    "module.py": "def three():\n    return 3\n",
    "test_module.py": "from module import three\n\n\ndef test_three():\n    assert three() == 3\n",
}


def test_an_environment_is_installed_and_forked(new_project, tmp_path):
    fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--retries=1"]
    if subprocess.run([*fetch, "-d", tmp_path, "iniconfig==2.0.0"], capture_output=True).returncode:
        pytest.skip("pip reaches no index")
    if subprocess.run(
        ["/usr/bin/python3", "-c", "import ensurepip"], capture_output=True
    ).returncode:
        pytest.skip("/usr/bin/python3 makes no virtual environments here")
    project = new_project("pip", FILES)
    script = "/usr/bin/python3 -m venv .venv && .venv/bin/pip install -q pytest==8.3.4"
    project.fetch("venv", "--", "sh", "-c", script)
    assert "1 passed" in project.run("--from", "venv", "--", ".venv/bin/pytest", "-q")
    assert not (project.path / ".venv").exists()
