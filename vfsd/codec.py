"""The only door to msgpack: encoding, and decoding that trusts nothing.

Decoding bounds every length by the size of the input, so that a hostile peer or file cannot
make the reader allocate more than it sent. Depth is bounded by msgpack itself (a stack of
its own, `ValueError` past 512).

Concurrency: pure functions.
"""

from __future__ import annotations

from typing import Any

import msgpack


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
