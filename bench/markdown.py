"""Tables and figures as README has them."""

from __future__ import annotations


def table(head: list[str], body: list[list[str]]) -> str:
    """A table; the first column and columns of words are set flush left, others flush right."""
    words = [any(row[k][:1].isalpha() for row in body) for k in range(len(head))]
    rule = ["---" if k == 0 or words[k] else "---:" for k in range(len(head))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *body))


def number(value: float) -> str:
    """Three digits are all that a figure is worth; no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
