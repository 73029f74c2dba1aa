"""`python -m vfsd` is `vfsd`."""

import sys

from vfsd.cli.main import main

sys.exit(main())
