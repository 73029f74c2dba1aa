"""`python -m vfsd` is `vfsd`."""

import sys

from vfsd.cli.main import program

sys.exit(program())
