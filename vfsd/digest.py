"""The only door to xxhash: content digests and stable short keys.

xxh3 is not cryptographic: a digest tells damage from health, not a forger from a friend.

Concurrency: pure functions.
"""

from __future__ import annotations

import xxhash

DIGEST_SIZE = 16
"""Bytes in a content digest (xxh3-128, big-endian as xxhash's canonical form)."""


def content_digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the xxh3-128 digest of `data`, `DIGEST_SIZE` bytes."""
    return xxhash.xxh3_128_digest(data)


def content_hasher() -> xxhash.xxh3_128:
    """Return an incremental hasher (`update`, `digest`) that agrees with `content_digest`."""
    return xxhash.xxh3_128()


def short_key(data: bytes) -> int:
    """Return a stable 64-bit key of `data`: for file names and numbers, never for identity."""
    return xxhash.xxh3_64_intdigest(data)
