"""Putting an overlay together: opening its layers, reading what is noted in the upper.

Concurrency: nothing here is shared yet.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import trio

from providers.overlay import hardlinks, marks
from providers.overlay.copyup import bring_up
from providers.overlay.layers import Below, Layer, Lowers
from providers.overlay.marks import Flavour
from providers.overlay.options import Options
from providers.overlay.union import Union
from providers.overlay.upper import Upper
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.provider import Node, OpenSource, Provider


async def open_layers(
    parsed: Options, open_source: OpenSource
) -> tuple[Provider | None, list[Provider], Provider]:
    """Open what the options name: the upper, the lowers, and a spare for forks.

    Nothing stays open on an error. UserError for an upper that cannot be written to.
    """
    opened: list[Provider] = []
    try:
        for each in parsed.lowers:
            opened.append(await open_source(each, _layer_options(each)))
        lowers = list(opened)
        spare = await open_source("memory", parsed.limits)
        opened.append(spare)
        upper = None
        if parsed.upper == "memory":
            upper = spare.fork()
        elif parsed.upper is not None:
            options = _layer_options(parsed.upper)
            if options:
                options["watch"] = "off"  # what is written to an upper is the overlay's own
            upper = await open_source(parsed.upper, options)
            opened.append(upper)
            if not upper.traits.writable:
                raise UserError(
                    f"{parsed.upper} cannot be written to; give upper=memory, a directory, or "
                    "upper=none for a read-only view",
                    ExitCode.USAGE,
                )
    except BaseException:
        with trio.CancelScope(shield=True):
            for provider in opened:
                await provider.aclose()
        raise
    return upper, lowers, spare


async def assemble(
    upper: Provider | None,
    lowers: Sequence[Provider],
    spare: Provider | None,
    flavour: Flavour,
    sync: bool,
) -> tuple[Union, Upper | None]:
    """Merge open layers; see `OverlayProvider.over`."""
    shared = Lowers(lowers)
    writable: Upper | None = None
    sealed: list[Layer] = []
    if upper is not None:
        writable, roots = await Upper.open(upper, seals=not await _forks(upper))
        writable.syncs = sync and upper.traits.fsync
        sealed = [Layer(upper, root, 0, sealed=True, bottom=False) for root in roots]
        if writable.seals:
            shared.further.append(upper)
    extra: Upper | None = None
    if spare is not None:
        extra, _ = await Upper.open(spare, seals=False)
        shared.further.append(spare)
    below: list[Below] = []
    for layer in (*reversed(sealed), *shared.layers):
        known = marks.NONE if layer.bottom else await marks.read(layer.provider, layer.root)
        below.append(Below(layer, layer.root, known.xattr_whiteouts))
    union = Union(writable, shared, tuple(sealed), flavour, tuple(below))
    await hardlinks.load(union)
    if writable is not None and not writable.seals:
        await bring_up(union, union.root)
    return union, extra


async def _forks(provider: Provider) -> bool:
    """Say whether a provider has snapshots of its own that can be worked with by number alone."""
    if type(provider.root) is not Node:
        return False
    try:
        snapshot = provider.snapshot()
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False
    await snapshot.aclose()
    return True


def _layer_options(source: str) -> dict[str, str]:
    """Return how to open a layer: a directory's symlinks are data, judged by who follows them."""
    kind, separator, _ = source.partition(":")
    directory = os.path.isdir(source) or (separator and kind == "passthrough")
    return {"links": "keep"} if directory else {}
