"""The C library of the passthrough provider, built so that one of its system calls fails."""

import ctypes
import os
import shlex
import subprocess
from pathlib import Path

from providers.passthrough import copies, looking

HERE = Path(__file__).parent
SOURCES = Path(copies.__file__).parent


class Faulty:
    """A library whose `putting.c` meets a fault when it is told to."""

    def __init__(self, directory):
        made = directory / "faulty.so"
        counters = directory / "counters.c"
        counters.write_text("int vfsd_fails_at, vfsd_dies, vfsd_calls, vfsd_met;\n")
        subprocess.run(
            [
                *(*shlex.split(os.environ.get("CC", "cc")), "-O2", "-fPIC", "-shared", "-o", made),
                *("-include", HERE / "faults.h", SOURCES / "putting.c"),
                *("-I", SOURCES, counters, *_plain(directory)),
            ],
            check=True,
        )
        library = ctypes.CDLL(str(made))
        self.looking = looking.Looking(library)
        self._library = library

    def at(self, step, *, dies=False):
        """Have that call of each file fail, the first being 1; 0: none."""
        for name, value in (("fails_at", step), ("dies", dies), ("met", 0)):
            self._counter(name).value = value

    @property
    def met(self):
        """Return how often that came to pass."""
        return self._counter("met").value

    def _counter(self, name):
        return ctypes.c_int.in_dll(self._library, f"vfsd_{name}")


def _plain(directory):
    """Compile what is not to fail, without that header, and return the objects."""
    objects = []
    for name in ("looking", "opening"):
        objects.append(directory / f"{name}.o")
        command = [*shlex.split(os.environ.get("CC", "cc")), "-O2", "-fPIC", "-c"]
        subprocess.run([*command, "-o", objects[-1], SOURCES / f"{name}.c"], check=True)
    return objects
