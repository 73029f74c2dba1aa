"""Names and text as a terminal may safely get them.

A name is bytes and may hold a newline, an escape sequence or half a character. Names are shown
as git shows them: as they are if every character is printable, otherwise in double quotes with
the escapes of C.

Concurrency: pure functions. Source: git-config(1), core.quotePath.
"""

from __future__ import annotations

import re

_ESCAPES = {
    **{0x07: b"\\a", 0x08: b"\\b", 0x09: b"\\t", 0x0A: b"\\n", 0x0B: b"\\v", 0x0C: b"\\f"},
    **{0x0D: b"\\r", 0x22: b'\\"', 0x5C: b"\\\\"},
}
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def quoted(name: bytes) -> bytes:
    """Return the name as git would print it; printable UTF-8 stays as it is."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return b'"' + _escaped(name) + b'"'
    if text.isprintable() and not {'"', "\\"} & set(text):
        return name
    shown = b"".join(
        character.encode()
        if character.isprintable() and character not in '"\\'
        else _escaped(character.encode())
        for character in text
    )
    return b'"' + shown + b'"'


def shown(name: bytes) -> str:
    """Return the quoted name as text, for a sentence."""
    return quoted(name).decode()


def harmless(line: bytes) -> bytes:
    """Return a line of text without control characters, for a terminal: ``^[`` for escape.

    What is no UTF-8, and what is but controls (C1, the direction of writing), shows as escapes.
    """
    line = _CONTROL.sub(lambda found: b"^" + bytes([found[0][0] ^ 0x40]), line)
    text = line.decode(errors="backslashreplace")
    if text.isprintable():
        return text.encode()
    return "".join(
        each if each.isprintable() or each in "\t\n" else f"\\u{ord(each):04x}" for each in text
    ).encode()


def _escaped(raw: bytes) -> bytes:
    return b"".join(
        _ESCAPES.get(byte) or (bytes([byte]) if 0x20 <= byte < 0x7F else b"\\%03o" % byte)
        for byte in raw
    )
