"""One change at a time: the lock that mutations of an overlay take.

A change takes several calls on the layers. Where those never suspend it is atomic by itself;
where they do, others wait here, and a cancellation waits until the change is done or undone.

Looking does not wait for changes, but for the few calls in which the tree is torn between two
states (`torn`).

Concurrency: that is what it is for. Waiters are served in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import trio


class Turn:
    """An async context manager, cheap when nobody waits."""

    __slots__ = ("_brief", "_held", "_lot", "_scope", "_suspends", "_torn", "_uncommitted")

    def __init__(self, *, suspends: bool) -> None:
        self._held = False
        self._suspends = suspends
        self._brief = Brief(self)
        self._lot = trio.lowlevel.ParkingLot()
        self._scope: trio.CancelScope | None = None
        self._torn: trio.Event | None = None
        self._uncommitted = False

    async def __aenter__(self) -> None:
        if self._held:
            await self._lot.park()
        self._held = True
        if self._suspends:
            self._scope = trio.CancelScope(shield=True)
            self._scope.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        swallowed = None
        if self._torn is not None:
            self._torn.set()
            self._torn = None
        if self._scope is not None:
            scope, self._scope = self._scope, None
            swallowed = scope.__exit__(kind, error, trace)
        self.pass_on()
        return swallowed

    def pass_on(self) -> None:
        """Give the turn to who waits longest."""
        if self._lot:
            self._lot.unpark()
        else:
            self._held = False

    @property
    def held(self) -> bool:
        """Whoever wants it has to wait."""
        return self._held

    @property
    def brief(self) -> Turn | Brief:
        """The turn for a change of one step, to be entered at once; it needs no shield then.

        Where one would have to wait first, there may be more steps afterwards.
        """
        return self if self._held or not self._suspends else self._brief

    def take(self) -> None:
        """Take the turn, which nobody has."""
        self._held = True

    @property
    def committed(self) -> bool:
        """A change is under way that a seal must not come into."""
        return self._held and self._suspends and not self._uncommitted

    @contextmanager
    def uncommitted(self) -> Iterator[None]:
        """Let a seal in, though the turn is held: by who changes nothing."""
        self._uncommitted = True
        try:
            yield
        finally:
            self._uncommitted = False

    @property
    def torn(self) -> trio.Event | None:
        """Set while looking would show neither the old nor the new state."""
        return self._torn

    def tear(self) -> None:
        """From here to the end of this turn, who looks has to wait."""
        if self._suspends and self._torn is None:
            self._torn = trio.Event()

    def cancellable(self, yes: bool) -> None:
        """Let a cancellation through, or not: while data is copied nothing is half done."""
        if self._scope is not None:
            self._scope.shield = not yes


class Brief:
    """The turn without its shield: what is one step is done or not, cancelled or not."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    async def __aenter__(self) -> None:
        self._turn.take()

    async def __aexit__(self, *_: object) -> None:
        self._turn.pass_on()
