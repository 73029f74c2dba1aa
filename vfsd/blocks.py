"""`suppress`, `closing` and `ExitStack` for what `vfsd run` imports.

`contextlib` brings `collections` and `functools` with it, which together take as long as half a
start of bwrap. To a type checker these are contextlib's own.

What it is *not*: all of it. An exit stack here takes callbacks and context managers, and no
exit functions.

Concurrency: as for contextlib.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import ExitStack as ExitStack
    from contextlib import closing as closing
    from contextlib import suppress as suppress
else:

    class suppress:
        """End a block where one of `kinds` is raised in it."""

        def __init__(self, *kinds):  # noqa: ANN002, ANN204
            self._kinds = kinds

        def __enter__(self):  # noqa: ANN204
            return None

        def __exit__(self, kind, error, traceback):  # noqa: ANN001, ANN204
            return kind is not None and issubclass(kind, self._kinds)

    class closing:
        """Close `thing` at the end of a block."""

        def __init__(self, thing):  # noqa: ANN001, ANN204
            self._thing = thing

        def __enter__(self):  # noqa: ANN204
            return self._thing

        def __exit__(self, kind, error, traceback):  # noqa: ANN001, ANN204
            self._thing.close()

    class ExitStack:
        """Leave at the end of a block, the last one first, what was entered in it."""

        def __init__(self):  # noqa: ANN204
            self._exits = []

        def enter_context(self, manager):  # noqa: ANN001, ANN201
            """Enter, and leave at the end; return what entering gave."""
            entered = manager.__enter__()
            self._exits.append(manager.__exit__)
            return entered

        def callback(self, function, /, *words, **named):  # noqa: ANN001, ANN002, ANN003, ANN201
            """Call `function` at the end."""

            def leave(kind, error, traceback):  # noqa: ANN001, ANN202
                function(*words, **named)

            self._exits.append(leave)
            return function

        def close(self):  # noqa: ANN201
            """Leave all now."""
            self.__exit__(None, None, None)

        def __enter__(self):  # noqa: ANN204
            return self

        def __exit__(self, kind, error, traceback):  # noqa: ANN001, ANN204
            pending = error
            while self._exits:
                leave = self._exits.pop()
                try:
                    if pending is None:
                        leave(None, None, None)
                    elif leave(type(pending), pending, pending.__traceback__):
                        pending = None
                except BaseException as raised:
                    _chain(raised, pending, error)
                    pending = raised
            if pending is not None and pending is not error:
                # As it is, with what it was raised during.
                context = pending.__context__
                try:
                    raise pending
                finally:
                    pending.__context__ = context
            return error is not None and pending is None

    def _chain(raised, pending, handled):  # noqa: ANN001, ANN202
        """Have `raised` tell of `pending`, not of what is `handled` all the while."""
        while raised.__context__ not in (None, pending, handled):
            raised = raised.__context__
        if raised.__context__ is not pending and raised.__context__ is not None:
            raised.__context__ = pending
