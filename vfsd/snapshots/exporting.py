"""A snapshot as a file for other tools: a tar archive of its tree, of what it changed, or an image.

The file appears whole, by a rename, or not at all.

What it is *not*: the formats (layertar.py, ociexport.py).

Concurrency: blocking calls in the caller's thread; the caller holds a lease on the snapshot.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from pathlib import Path

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.changes import compare
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.layertar import LayerTar, whole_tree
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.ociexport import Layout, write_layout_tar
from vfsd.snapshots.tarstream import Compression, Compressor, compression_of
from vfsd.snapshots.view import TreeView

Told = Callable[[int, int], None]
Write = Callable[[bytes], object]


class Form(Enum):
    """What is exported."""

    TREE = "tree"
    CHANGES = "changes"
    IMAGE = "image"


def export(
    held: Lease, target: str, form: Form, compression: Compression | None, told: Told | None = None
) -> list[bytes]:
    """Write the snapshot to `target`, ``-`` for standard output; return what had to be left out.

    An image goes into a new directory, unless the name of `target` ends as an archive's does.
    Without a `compression` the name decides; layers of an image are then gzip. UserError.
    """
    if form is Form.IMAGE:
        return _export_image(held, target, compression or Compression.GZIP, told)
    if compression is None:
        compression = compression_of(target)
    with ExitStack() as stack:
        view = stack.enter_context(held.view())
        if form is Form.TREE:
            changes = whole_tree(view)
        else:
            if held.base is None:
                raise UserError(
                    f"the snapshot {held.snapshot.name!r} stands on no directory, so all of it is"
                    " what it changed; export it without --changes",
                    ExitCode.USAGE,
                )
            changes = compare(stack.enter_context(HostTree(held.base)), view)
        compressor = Compressor(stack.enter_context(_written(target)), compression)
        layer = LayerTar(view, compressor.write, told)
        layer.run(changes)
        compressor.finish()
    return layer.left_out


def _export_image(
    held: Lease, target: str, compression: Compression, told: Told | None
) -> list[bytes]:
    with ExitStack() as stack:
        trees, commands = _trees(stack, held)
        if target == "-" or target.endswith((".tar", ".tgz", ".gz", ".tzst", ".zst")):
            beside = None if target == "-" else os.path.dirname(os.path.abspath(target))
            folder = Path(tempfile.mkdtemp(prefix=".vfsd-export-", dir=beside))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            layout = _image(held, folder, trees, commands, compression, told)
            outer = Compressor(stack.enter_context(_written(target)), compression_of(target))
            write_layout_tar(folder, outer.write)
            outer.finish()
            return layout.left_out
        folder = Path(target)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{target} exists and is no empty directory; name another", ExitCode.REFUSED
            )
        unfinished = Path(tempfile.mkdtemp(prefix=".vfsd-export-", dir=folder.absolute().parent))
        try:
            layout = _image(held, unfinished, trees, commands, compression, told)
            unfinished.chmod(0o777 & ~_umask())
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return layout.left_out


def _image(
    held: Lease,
    folder: Path,
    trees: list[TreeView],
    commands: list[str],
    compression: Compression,
    told: Told | None,
) -> Layout:
    layout = Layout(folder, compression, told)
    layout.add_trees(trees, commands)
    layout.finish(held.snapshot.name)
    return layout


def _trees(stack: ExitStack, held: Lease) -> tuple[list[TreeView], list[str]]:
    """Return the trees that layer after layer made, the base first, and what made each."""
    trees: list[TreeView] = []
    commands: list[str] = []
    if held.base is not None:
        trees.append(stack.enter_context(HostTree(held.base)))
        commands.append("the directory that the snapshot stands on")
    for without in range(len(held.layers) - 1, -1, -1):
        trees.append(stack.enter_context(held.view_over(held.base, without=without)))
        commands.append("a layer of vfsd")
    made_by = b" ".join(held.snapshot.command).decode(errors="backslashreplace")
    commands[-1] = made_by or commands[-1]
    return trees, commands


@contextmanager
def _written(target: str) -> Iterator[Write]:
    """Give what writes into a new file, which takes its name when all is written."""
    if target == "-":
        with open(1, "wb", closefd=False) as out:
            yield out.write
        return
    beside, name = os.path.split(os.path.abspath(target))
    unfinished = os.path.join(beside, f".{name[:200]}.{secrets.token_hex(4)}")
    try:
        with open(unfinished, "xb", buffering=1 << 20) as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
