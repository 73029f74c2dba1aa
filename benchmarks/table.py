"""How a sheet of results looks: a Rich table on a terminal, Markdown when piped or recorded.

Concurrency: writes to stdout only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sheet:
    """A titled table of finished cells, and sentences below it."""

    title: str
    header: list[str]
    lines: list[list[str]]
    notes: list[str]


def show(sheet: Sheet) -> None:
    """Print a sheet the way stdout's reader wants it."""
    if sys.stdout.isatty():
        _show_rich(sheet)
    else:
        print(markdown(sheet))


def markdown(sheet: Sheet) -> str:
    """Return a sheet as a Markdown table whose columns also line up as plain text."""
    table = [sheet.header, *sheet.lines]
    widths = [max(len(line[column]) for line in table) for column in range(len(sheet.header))]

    def row(cells: list[str]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    body = [row(sheet.header), rule, *map(row, sheet.lines)]
    notes = [f"- {note}" for note in sheet.notes]
    return "\n".join([f"**{sheet.title}**", "", *body, "", *notes, *([""] if notes else [])])


def _show_rich(sheet: Sheet) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(title=escape(sheet.title), title_justify="left")
    for number, name in enumerate(sheet.header):
        table.add_column(escape(name), justify="right" if number else "left", overflow="fold")
    for line in sheet.lines:
        table.add_row(*map(_coloured, line))
    console.print(table)
    for note in sheet.notes:
        console.print(f"  {escape(note)}")


def _coloured(cell: str) -> str:
    from rich.markup import escape

    if cell == "met":
        return "[green]met[/]"
    if cell.startswith(("missed", "failed")):
        return f"[red]{escape(cell)}[/]"
    return escape(cell)
