"""The only door to msgpack: what goes round, and that hostile bytes are refused cheaply."""

import random
import resource

import pytest

from vfsd.codec import CodecError, decode, encode


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(1 << 63), (1 << 64) - 1, 1.5, "text", b"\xff\x00", [1, [b"x"]], {"a": b"b"}],
)
def test_values_go_round(value):
    assert decode(encode(value)) == value


@pytest.mark.parametrize("value", [1 << 64, object(), {"a": {1, 2}}, "\udcff"])
def test_what_cannot_be_encoded_is_refused(value):
    with pytest.raises(CodecError):
        encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        encode(1) + b"\x00",
        encode(b"long enough")[:-1],
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc7\x01\x05x",
        b"\xa1\xff",
        b"\x81\x01\x02",
        b"\x91" * 100_000,
    ],
)
def test_malformed_bytes_are_refused(data):
    with pytest.raises(CodecError):
        decode(data)


def test_nested_claims_of_great_lengths_do_not_allocate_what_they_claim():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CodecError):
        decode(b"\xdd\x00\x10\x00\x00" * 500 + b"\xc0" * (1 << 20))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 << 10


def test_random_bytes_never_raise_anything_else():
    seed = random.Random(20261121)
    for _ in range(3000):
        data = seed.randbytes(seed.randrange(40))
        try:
            decode(data)
        except CodecError:
            continue
