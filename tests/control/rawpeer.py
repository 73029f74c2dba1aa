"""A peer that speaks frames by hand, so that it can also speak them wrongly."""

from __future__ import annotations

import socket
from pathlib import Path

from vfsd import runtime
from vfsd.control.framing import Failure, FrameReader, Message, Request, decode_body, encode_frame


class RawPeer:
    def __init__(self, path: Path, *, greet: bool = True, receive_buffer: int = 0) -> None:
        self.socket = runtime.connect(path)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.reader = FrameReader()
        self.waiting: list[Message] = []
        self.number = 0
        if greet:
            assert not isinstance(self.ask("hello", versions=[1]), Failure)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, verb: str, **parameters: object) -> int:
        self.number += 1
        self.socket.sendall(encode_frame(Request(self.number, verb, parameters)))
        return self.number

    def receive(self) -> Message | None:
        """Return the next message, None at the end of the stream."""
        while not self.waiting:
            data = self.socket.recv(1 << 16)
            if not data:
                return None
            self.reader.feed(data)
            self.waiting += map(decode_body, self.reader.bodies())
        return self.waiting.pop(0)

    def ask(self, verb: str, **parameters: object) -> Message | None:
        number = self.send(verb, **parameters)
        answer = self.receive()
        assert answer is not None
        assert answer.id == number
        return answer
