"""Unified text of two small files, line by line, in bytes.

Files that are large or hold a NUL are not text. Where two texts have so much that differs that
finding the best match would take long, the whole middle is shown as replaced.

Concurrency: pure functions. Source: diff(1), "unified format"; git's rule for binary files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import NamedTuple

TEXT_BYTES_MAX = 1 << 18
"""Larger files are not shown as text."""

_BINARY_LOOK_BYTES = 8000
_CELLS_MAX = 1 << 21
"""Lines times lines that are matched; the time grows with it."""

_CONTEXT_LINES = 3
NO_NEWLINE = b"\\ No newline at end of file\n"


class Count(NamedTuple):
    """Lines that were added and removed."""

    added: int
    removed: int


class _Block(NamedTuple):
    tag: str
    old_start: int
    old_end: int
    new_start: int
    new_end: int


def is_text(data: bytes) -> bool:
    """Say whether git would show the data as text."""
    return b"\0" not in data[:_BINARY_LOOK_BYTES]


def count(old: bytes, new: bytes) -> Count:
    """Count changed lines."""
    changed = [block for block in _blocks(_lines(old), _lines(new)) if block.tag != "equal"]
    return Count(
        sum(block.new_end - block.new_start for block in changed),
        sum(block.old_end - block.old_start for block in changed),
    )


def hunks(old: bytes, new: bytes) -> Iterator[bytes]:
    """Yield the lines of a unified diff from the first ``@@`` on, each with its newline."""
    before, after = _lines(old), _lines(new)
    for group in _groups(_blocks(before, after)):
        yield b"@@ -%s +%s @@\n" % (
            _range(group[0].old_start, group[-1].old_end),
            _range(group[0].new_start, group[-1].new_end),
        )
        for block in group:
            if block.tag == "equal":
                yield from _marked(b" ", before[block.old_start : block.old_end])
            else:
                yield from _marked(b"-", before[block.old_start : block.old_end])
                yield from _marked(b"+", after[block.new_start : block.new_end])


def _lines(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _marked(sign: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        if line.endswith(b"\n"):
            yield sign + line
        else:
            yield sign + line + b"\n"
            yield NO_NEWLINE


def _range(start: int, end: int) -> bytes:
    length = end - start
    first = start + 1 if length else start
    return b"%d" % first if length == 1 else b"%d,%d" % (first, length)


def _blocks(old: Sequence[bytes], new: Sequence[bytes]) -> list[_Block]:
    head = sum(1 for _ in takewhile(_equal, zip(old, new, strict=False)))
    room = min(len(old), len(new)) - head
    backwards = zip(reversed(old), reversed(new), strict=False)
    tail = min(room, sum(1 for _ in takewhile(_equal, backwards)))
    middle_old, middle_new = old[head : len(old) - tail], new[head : len(new) - tail]
    if not middle_old and not middle_new:
        return []
    if len(middle_old) * len(middle_new) > _CELLS_MAX:
        found = [_Block("replace", 0, len(middle_old), 0, len(middle_new))]
    else:
        matcher = SequenceMatcher(None, middle_old, middle_new)
        found = [_Block(*code) for code in matcher.get_opcodes()]
    blocks = [
        _Block(
            block.tag,
            block.old_start + head,
            block.old_end + head,
            block.new_start + head,
            block.new_end + head,
        )
        for block in found
    ]
    if head:
        blocks.insert(0, _Block("equal", 0, head, 0, head))
    if tail:
        blocks.append(_Block("equal", len(old) - tail, len(old), len(new) - tail, len(new)))
    return blocks


def _equal(pair: tuple[bytes, bytes]) -> bool:
    return pair[0] == pair[1]


def _groups(blocks: list[_Block]) -> Iterator[list[_Block]]:
    """Cut long equal stretches down to the context, and there into groups."""
    group: list[_Block] = []
    for position, block in enumerate(blocks):
        if block.tag != "equal":
            group.append(block)
            continue
        length = block.old_end - block.old_start
        leading = _CONTEXT_LINES if position else 0
        trailing = _CONTEXT_LINES if position + 1 < len(blocks) else 0
        if length <= leading + trailing:
            group.append(block)
            continue
        if group:
            group.append(
                block._replace(old_end=block.old_start + leading, new_end=block.new_start + leading)
            )
            yield group
            group = []
        if trailing:
            group.append(
                block._replace(
                    old_start=block.old_end - trailing, new_start=block.new_end - trailing
                )
            )
    if any(block.tag != "equal" for block in group):
        yield group
