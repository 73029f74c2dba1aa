"""What an overlay says of itself and of a file: which of its layers that is in.

Concurrency: as the provider's; looking changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.overlay.layers import Layer
from providers.overlay.nodes import OverlayNode
from providers.overlay.union import Union


def describe(union: Union) -> str:
    """Return the line for `vfsd status`."""
    upper = "no upper" if union.upper is None else union.upper.provider.describe()
    layers = len(union.family) + len(union.lowers.layers)
    top = union.lowers.layers[0].provider.describe() if union.lowers.layers else "nothing"
    more = f" and {layers - 1} more" if layers > 1 else ""
    return f"overlay ({upper} over {top}{more})"


def statistics(union: Union) -> Mapping[str, int | float | str]:
    """Return the counters for `vfsd status`."""
    return {
        "layers": len(union.root_below) + (union.upper is not None),
        "nodes": len(union.nodes),
        "copied_up_files": union.copied_up,
        "copied_up_bytes": union.copied_bytes,
        "partial_files": len(union.partial),
        "linked_files": len(union.hard),
    }


async def explain(union: Union, node: OverlayNode) -> Mapping[str, bytes]:
    """Return the file's layers, and what the provider of the topmost of them says. ESTALE.

    Layers of a layer that is an overlay itself follow after a slash.
    """
    provider, inner = union.reading(node)
    told = dict(await provider.explain(inner))
    names = [] if node.upper is None else ["upper"]
    if node.is_directory or not names:
        below = node.below if node.is_directory else node.below[:1]
        names += [_name(union, each.layer) for each in below]
    layer = ",".join(names).encode()
    told["layer"] = layer + b"/" + told["layer"] if "layer" in told else layer
    told.pop("provider", None)
    return told


def _name(union: Union, layer: Layer) -> str:
    stack = (*reversed(union.family), *union.lowers.layers)
    return f"lower-{stack.index(layer) + 1}"
