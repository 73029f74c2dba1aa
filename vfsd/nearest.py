"""What a mistyped word was probably meant to be: "did you mean", in the same words everywhere.

Concurrency: none. What compares words is imported when one is mistyped: `vfsd run` starts fast.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like `word`; None if none is much like it."""
    from difflib import get_close_matches

    near = get_close_matches(word, tuple(known), n=1)
    return near[0] if near else None


def meant(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the question whether the nearest word was meant, or `otherwise` if there is none."""
    near = nearest(word, known)
    return otherwise if near is None else f"did you mean {near!r}?"
