"""What a metric is: the protocol, and the row that the command line reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Metric(Protocol):
    """What every metric can do besides `update`, whose arguments differ (see `Row.takes`)."""

    def merge(self, other: Any) -> None:
        """Add the sequences of `other`, an object of the same class; they must not be among the own ones."""

    def result(self) -> dict[str, float]:
        """Scores of everything so far: name -> number. NaN where the metric is not defined, never an exception."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric as `tracker eval` knows it.

    Attributes:
        metric: makes a new object; takes the `ClassSet` if it is a panoptic metric, nothing else otherwise.
        takes: `overlaps`, `panoptic`, `masks`, `contours` or `tracks`, see the text of `tracker.evaluation`.
        columns: names of `result()` that a table shows, the most important first.
    """

    metric: Callable[..., Metric]
    takes: str
    columns: tuple[str, ...]
