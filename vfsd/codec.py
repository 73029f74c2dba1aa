"""The only door to msgpack: encoding, and decoding that trusts nothing.

Decoding bounds every length by the size of the input, so that a hostile peer or file cannot
make the reader allocate more than it sent. Depth is bounded by msgpack itself (a stack of
its own, `ValueError` past 512). Where nested lengths that lie could still add up to too much,
`decode_flat` takes a bound on items and allows no nesting at all.

Concurrency: pure functions.
"""

from __future__ import annotations

import msgpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CodecError(ValueError):
    """The bytes are not one well-formed msgpack value within the limits."""


def encode(value: Any) -> bytes:
    """Encode None, bool, int, float, str, bytes, list, tuple and dict values.

    Raises `CodecError` for anything else, and for integers beyond 64 bits.
    """
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"cannot encode a {type(value).__name__}: {error}") from error
    return packed


def decode(data: bytes | bytearray | memoryview) -> Any:
    """Decode exactly one value; trailing bytes, truncation and odd keys raise `CodecError`."""
    size = len(data)
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=size,
            max_map_len=size,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise CodecError(f"not a well-formed message: {error or type(error).__name__}") from error


def decode_flat(data: bytes | bytearray | memoryview, items_max: int) -> list[Any]:
    """Decode exactly one array of at most `items_max` scalars; anything else is `CodecError`.

    No more is allocated than the array's items and the bytes that are there.
    """
    count, start = _array_header(bytes(data[:5]))
    size = len(data)
    if count > min(items_max, size):
        raise CodecError(f"not a well-formed message: an array of {count} items")
    limits = {"max_str_len": size, "max_bin_len": size, "max_array_len": 0, "max_map_len": 0}
    unpacker = msgpack.Unpacker(max_buffer_size=size or 1, max_ext_len=0, **limits)
    unpacker.feed(data[start:])
    try:
        items = [unpacker.unpack() for _ in range(count)]
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise CodecError(f"not a well-formed message: {error or type(error).__name__}") from error
    if unpacker.tell() != size - start:
        raise CodecError("not a well-formed message: more than one value")
    return items


def _array_header(head: bytes) -> tuple[int, int]:
    """Return how many items an array has and where the first stands."""
    kind = head[0] if head else 0
    if kind & 0xF0 == 0x90:
        return kind & 0x0F, 1
    if kind == 0xDC and len(head) >= 3:
        return int.from_bytes(head[1:3]), 3
    if kind == 0xDD and len(head) == 5:
        return int.from_bytes(head[1:5]), 5
    raise CodecError("not a well-formed message: not an array")
