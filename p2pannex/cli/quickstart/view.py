"""How the quickstart is shown: step by step in colours for people, or as one JSON object per line for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

import click

from p2pannex.terminal import safe_line, shortened


class View(Protocol):
    """Shows the quickstart while it runs."""

    def begin(self, text: str) -> None:
        """Show the introduction."""

    def step(self, name: str, title: str, why: str) -> None:
        """Show the title of the next step, and what it is for. `name` is what JSON calls the step."""

    def row(self, cells: Sequence[str], **fields: object) -> None:
        """Show one result: the first cell says what it concerns, the last one how it went. `fields` are for JSON."""

    def end(self, text: str, commands: Sequence[tuple[str, str]], **fields: object) -> None:
        """Show a summary, and commands to try next, each with what it does. `fields` are for JSON."""


class JsonView:
    """For --json."""

    def __init__(self) -> None:
        self._step = ""

    def begin(self, text: str) -> None:
        pass

    def step(self, name: str, title: str, why: str) -> None:
        self._step = name

    def row(self, cells: Sequence[str], **fields: object) -> None:
        click.echo(json.dumps({"step": self._step, **fields}))

    def end(self, text: str, commands: Sequence[tuple[str, str]], **fields: object) -> None:
        click.echo(json.dumps({"step": "end", **fields}))


class QuietView:
    """For --quiet: shows nothing."""

    def begin(self, text: str) -> None:
        pass

    def step(self, name: str, title: str, why: str) -> None:
        pass

    def row(self, cells: Sequence[str], **fields: object) -> None:
        pass

    def end(self, text: str, commands: Sequence[tuple[str, str]], **fields: object) -> None:
        pass


class RichView:
    """For people. Without a terminal it prints the same text without colours."""

    WIDTHS = (14, 8, 22)

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._width = min(self._console.width, 96)
        self._number = 0

    def begin(self, text: str) -> None:
        from rich.panel import Panel
        from rich.text import Text

        panel = Panel(Text(text), title="[bold]p2pannex quickstart", border_style="cyan", width=self._width)
        self._console.print(panel)

    def step(self, name: str, title: str, why: str) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self._number += 1
        self._console.print()
        self._console.print(Text.assemble((f" {self._number} ", "bold white on blue"), "  ", (title, "bold")))
        self._console.print(Padding(Text(why, style="dim"), (0, 0, 0, 5)), width=self._width)

    def row(self, cells: Sequence[str], **fields: object) -> None:
        from rich.text import Text

        text = Text("   ✓ ", style="green")
        styles = ("default", "cyan", "magenta")
        for index, cell in enumerate(cells[:-1]):
            width = self.WIDTHS[index]
            text.append(f"{shortened(safe_line(cell), width):{width}}  ", style=styles[index])
        text.append(safe_line(cells[-1]), style="green" if len(cells) > 1 else "default")
        self._console.print(text, soft_wrap=True)

    def end(self, text: str, commands: Sequence[tuple[str, str]], **fields: object) -> None:
        from rich.panel import Panel
        from rich.text import Text

        self._console.print()
        self._console.print(Panel(Text(text), border_style="green", width=self._width))
        self._console.print(Text("   Next", style="bold"))
        for command, what in commands:
            self._console.print(Text.assemble(("   $ ", "dim"), (safe_line(command), "bold cyan")), soft_wrap=True)
            self._console.print(Text(f"     {what}", style="dim"), soft_wrap=True)


def size(count: int) -> str:
    """A number of bytes, for people."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def speed(count: int, seconds: float) -> str:
    """How long a transfer took and, from 1 MB on, how fast it was."""
    milliseconds = seconds * 1000
    took = f"{seconds:.2f} s" if seconds >= 1 else f"{milliseconds:.{1 if milliseconds < 10 else 0}f} ms"
    return took if count < 1_000_000 or not seconds else f"{took}, {count / seconds / 1e6:.0f} MB/s"
