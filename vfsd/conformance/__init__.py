"""The conformance suite: what every provider promises, as checks that anyone can run.

A provider's test file needs a factory and, where it cannot keep a promise, a list of skips
with reasons:

    from contextlib import asynccontextmanager
    from vfsd.conformance import conformance_tests, fill

    @asynccontextmanager
    async def factory(contents):
        provider = MyProvider()
        await fill(provider, contents)      # a read-only provider is made with them instead
        yield provider
        await provider.aclose()

    test_conformance = conformance_tests(factory, skips={})

Without pytest: ``python -m vfsd.conformance my.module:MyProvider``.

Reading order: check.py (one check), table.py (all of them), areas/ (what they say), suite.py
(how they run), model.py (random operations).
"""

from vfsd.conformance.check import Check
from vfsd.conformance.contents import Contents, Directory, File, HardLink, Symlink, fill
from vfsd.conformance.expect import CheckFailed, NotApplicable
from vfsd.conformance.files import Files
from vfsd.conformance.model import Model
from vfsd.conformance.pytestface import conformance_tests
from vfsd.conformance.suite import Conformance, Factory, Outcome, Status
from vfsd.conformance.table import CHECKS

__all__ = [
    "CHECKS",
    "Check",
    "CheckFailed",
    "Conformance",
    "Contents",
    "Directory",
    "Factory",
    "File",
    "Files",
    "HardLink",
    "Model",
    "NotApplicable",
    "Outcome",
    "Status",
    "Symlink",
    "conformance_tests",
    "fill",
]
