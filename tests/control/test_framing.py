"""Frames: round trips, cuts at every byte, and bytes that are no frames."""

import random

import pytest

from vfsd.codec import encode
from vfsd.control.framing import (
    FRAME_LIMIT_BYTES,
    HEADER,
    SKIP_LIMIT_BYTES,
    Cancel,
    Failure,
    FrameError,
    FrameReader,
    Part,
    Request,
    Result,
    decode_body,
    encode_frame,
)

MESSAGES = [
    Request(1, "stat", {"path": b"\xff\xfe", "follow": True}),
    Result(2, {"entries": [[b"a", [1, 2]]]}),
    Part(3, None),
    Failure(4, 2, "No such file or directory", 5, b"a\xffb"),
    Failure(0, 0, "a sentence", 1, None),
    Cancel((1 << 63) - 1),
]


def take_all(reader: FrameReader) -> list[object]:
    """Return messages, and errors as the errno they carry."""
    taken: list[object] = []
    while True:
        try:
            for body in reader.bodies():
                try:
                    taken.append(decode_body(body))
                except FrameError as error:
                    taken.append(error.errno)
            return taken
        except FrameError as error:
            taken.append(error.errno)
            if error.fatal:
                return taken


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_go_round(message):
    reader = FrameReader()
    reader.feed(encode_frame(message))
    assert take_all(reader) == [message]
    assert not reader.is_midway


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 100_000])
def test_where_the_stream_is_cut_does_not_matter(step):
    data = b"".join(map(encode_frame, MESSAGES))
    reader, taken = FrameReader(), []
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        taken += take_all(reader)
    assert taken == MESSAGES


def test_a_message_that_is_too_long_is_not_made():
    with pytest.raises(FrameError, match="longer"):
        encode_frame(Result(1, b"x" * FRAME_LIMIT_BYTES))


def test_a_message_that_is_too_long_is_skipped_without_keeping_it():
    reader, after = FrameReader(), encode_frame(MESSAGES[0])
    length = FRAME_LIMIT_BYTES + 1
    reader.feed(HEADER.pack(length))
    assert take_all(reader) == [90]
    for start in range(0, length, 50_000):
        reader.feed(b"\0" * min(50_000, length - start))
        assert take_all(reader) == []
        assert len(reader._buffer) == 0
    reader.feed(after)
    assert take_all(reader) == [MESSAGES[0]]


def test_past_the_limit_of_skipping_it_is_fatal():
    reader = FrameReader()
    reader.feed(HEADER.pack(SKIP_LIMIT_BYTES + 1))
    with pytest.raises(FrameError) as caught:
        list(reader.bodies())
    assert caught.value.fatal


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        [1],
        [9, 1],
        [1, 1, "stat"],
        [1, 1, b"stat", {}],
        [1, -1, "stat", {}],
        [1, True, "stat", {}],
        [1, 1 << 63, "stat", {}],
        [1, 1, "stat", {b"path": 1}],
        [1, 1, "stat", [], 5],
        [4, 1, 2, "text", 1, "file"],
        ["1", 1, "stat", {}],
    ],
)
def test_bodies_of_no_known_form_are_refused(value):
    with pytest.raises(FrameError) as caught:
        decode_body(encode(value))
    assert not caught.value.fatal


def test_random_streams_raise_nothing_else_and_keep_little():
    seed = random.Random(7)
    for _ in range(400):
        reader = FrameReader()
        for _ in range(8):
            kind = seed.randrange(3)
            if kind == 0:
                reader.feed(seed.randbytes(seed.randrange(64)))
            elif kind == 1:
                body = seed.randbytes(seed.randrange(64))
                reader.feed(HEADER.pack(len(body)) + body)
            else:
                frame = bytearray(encode_frame(seed.choice(MESSAGES)))
                frame[seed.randrange(len(frame))] ^= 1 << seed.randrange(8)
                reader.feed(frame)
            take_all(reader)
            assert len(reader._buffer) <= FRAME_LIMIT_BYTES + HEADER.size
