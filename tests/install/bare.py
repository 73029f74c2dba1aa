"""An empty machine: a minimal Debian 12 in a root of its own, with an ordinary user who may sudo.

It has the network, /dev/fuse and the kernel of this machine, and nothing else of it: debootstrap
makes it from packages. It is left with its mounts and processes when the command in it ends.

Sources: debootstrap(8), pivot_root(2) (user namespaces cannot be made in a mere chroot).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

TOOLS = "git make python3 sudo ca-certificates"
"""What README says one has already; and what a machine with a network has."""
PREPARE = f"""
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update && apt-get -qq -y install --no-install-recommends {TOOLS} >/dev/null
    useradd --create-home --shell /bin/bash me
    echo 'me ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/me
    test -e /etc/mtab || ln -s /proc/self/mounts /etc/mtab
"""
ENTER = """
    root=$1; shift; cd "$root"
    mount --bind . . && cd "$root"
    mount -t proc proc proc && mount -t sysfs -o ro sysfs sys && mount -t tmpfs tmpfs tmp
    mount -t tmpfs -o mode=755 tmpfs dev && mkdir dev/pts dev/shm && chmod 1777 tmp dev/shm
    for each in null zero full random urandom tty fuse; do
        touch dev/$each && mount --bind /dev/$each dev/$each
    done
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
    ln -s pts/ptmx dev/ptmx && ln -s /proc/self/fd dev/fd
    for each in 0:stdin 1:stdout 2:stderr; do ln -s fd/${each%:*} dev/${each#*:}; done
    mkdir -p .old && pivot_root . .old && umount -l /.old && cd / && exec env -i \\
        HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8 "$@"
"""


class BareMachine:
    """See the module; `root` is its root directory, on a file system that is no overlayfs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        command = ["debootstrap", "--variant=minbase", "bookworm", str(root)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout[-4000:] + made.stderr
        for name in ("resolv.conf", "hosts"):
            shutil.copy(Path("/etc", name), root / "etc" / name)
        told, code = self.run("sh", "-ec", PREPARE)
        assert code == 0, told
        # Some networks have an authority of their own, which this machine knows.
        authorities = Path("etc/ssl/certs/ca-certificates.crt")
        shutil.copy("/" / authorities, root / authorities)

    def run(self, *words: str) -> tuple[str, int]:
        """Run a command as root; return what it said, and its exit code."""
        done = subprocess.run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("--propagation", "private", "sh", "-ec", ENTER, "sh", str(self.root), *words),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        return done.stdout, done.returncode

    def as_user(self, script: str) -> tuple[str, int]:
        """Run a script as the ordinary user, in a login shell, in the home directory."""
        return self.run("su", "-", "me", "-c", f"set -eux\n{script}")
