"""A map of names to contents, as JSON, written out as the base of a run.

    {"src/main.py": "print('hello')\\n",
     "run.sh": {"text": "#!/bin/sh\\n", "executable": true},
     "logo.png": {"base64": "iVBORw0…"},
     "empty/": null}

Names are relative paths; the directories on the way are made. A name that ends with a slash is
a directory.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

LIMIT_BYTES = 256 << 20
"""Of the JSON text."""

KEYS = {"text", "base64", "executable"}


def write_out(source: str, directory: str) -> None:
    """Write the map in the file `source` (``-``: standard input) into the empty `directory`.

    UserError (125) for what is no such map; the directory is the caller's to remove then.
    """
    for name, content in _read(source).items():
        _write(source, name, content, directory)


def _read(source: str) -> dict[str, object]:
    try:
        if source == "-":
            text = sys.stdin.buffer.read(LIMIT_BYTES + 1)
        else:
            with open(source, "rb") as file:
                text = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise _wrong(f"{source} cannot be read: {error.strerror}") from error
    if len(text) > LIMIT_BYTES:
        raise _wrong(f"{source} is longer than {LIMIT_BYTES >> 20} MiB; pack it as an archive")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"{source} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _wrong(f'{source} is no map; write {{"name": "content"}}')
    return found


def _write(source: str, name: str, content: object, directory: str) -> None:
    parts = name.rstrip("/").split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise _wrong(f"{source}: {name!r} is no relative path inside the base")
    path = os.path.join(directory, *parts)
    try:
        if name.endswith("/"):
            if content is not None:
                raise _wrong(f"{source}: {name!r} is a directory, so its content must be null")
            os.makedirs(path, 0o755, exist_ok=True)
            return
        data, executable = _content(source, name, content)
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        # "x": names that mean the same file, or lead through one, are refused.
        with open(path, "xb") as target:
            target.write(data)
        os.chmod(path, 0o755 if executable else 0o644)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise _wrong(f"{source}: {name!r} cannot be written: {why}") from error


def _content(source: str, name: str, content: object) -> tuple[bytes, bool]:
    if isinstance(content, str):
        return content.encode(errors="surrogatepass"), False
    if isinstance(content, dict) and set(content) <= KEYS:
        text, packed = content.get("text"), content.get("base64")
        executable = content.get("executable", False)
        if isinstance(executable, bool) and (text is None) != (packed is None):
            if isinstance(text, str):
                return text.encode(errors="surrogatepass"), executable
            if isinstance(packed, str):
                try:
                    return base64.b64decode(packed, validate=True), executable
                except binascii.Error as error:
                    raise _wrong(f"{source}: {name!r} is not base64: {error}") from error
    raise _wrong(
        f'{source}: the content of {name!r} is neither a string nor an object with "text" or'
        ' "base64" and perhaps "executable"'
    )


def _wrong(message: str) -> UserError:
    return UserError(message, ExitCode.RUN_FAILED)
