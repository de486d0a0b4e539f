"""Tables and figures as README has them."""

from __future__ import annotations


def table(head: list[str], body: list[list[str]]) -> str:
    """A table; every column after the first is set flush right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *body))


def number(value: float) -> str:
    """Three digits are all that a figure is worth; no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
