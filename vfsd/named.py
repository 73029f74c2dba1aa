"""`NamedTuple` for what `vfsd run` imports: a class is made ten times as fast as typing's.

To import `typing` takes longer than bwrap takes to start a sandbox, and each class it makes a
third of a millisecond more. To a type checker this is `typing.NamedTuple`.

What it is *not*: all of it. There is what a value needs: names, defaults, `_replace`; and no
subclasses of subclasses.

Concurrency: immutable values.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Maker(type):
        def __new__(cls, name, bases, body):  # noqa: ANN001, ANN204
            fields = tuple(body.get("__annotations__", ()))
            body["_fields"] = body["__match_args__"] = fields
            body["_defaults"] = {field: body[field] for field in fields if field in body}
            body["__slots__"] = ()
            for at, field in enumerate(fields):
                body[field] = property(lambda self, at=at: self[at])
            return super().__new__(cls, name, bases, body)

    class NamedTuple(tuple, metaclass=_Maker):
        """A tuple whose items have names: the annotations of the class, in their order."""

        def __new__(cls, *values, **named):  # noqa: ANN002, ANN003, ANN204
            """Make one of values in order, values by name, and defaults. TypeError as usual."""
            if named or len(values) != len(cls._fields):
                given = dict(zip(cls._fields, values, strict=False))
                whole = {**cls._defaults, **given, **named}
                wrong = (
                    len(values) > len(cls._fields)
                    or whole.keys() != set(cls._fields)
                    or given.keys() & named
                )
                if wrong:
                    raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}")
                values = [whole[field] for field in cls._fields]
            return tuple.__new__(cls, values)

        def _replace(self, **named):  # noqa: ANN003, ANN202
            return type(self)(**{**self._asdict(), **named})

        def _asdict(self):  # noqa: ANN202
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self):  # noqa: ANN204
            return tuple(self)

        def __repr__(self):  # noqa: ANN204
            told = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({told})"
