"""`vfsd top` on a terminal: the tables of the newest sample, in place.

Concurrency: blocks for each sample; the display is refreshed by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from vfsd.cli.topview import Row, rows_of


def show(samples: Iterable[dict[str, Any]]) -> None:
    """Show each sample over the one before it; the last one stays."""
    with Live("measuring", auto_refresh=False) as live:
        for sample in samples:
            live.update(Group(*map(_drawn, rows_of(sample))), refresh=True)


def _drawn(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, expand=False)
    for number, name in enumerate(rows[0]):
        table.add_column(escape(name), justify="right" if number else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table
