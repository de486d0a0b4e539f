"""What people and machines see of a run while it goes on: a page, metrics, and who may look.

A run tells a `Channel` of the `Board` about every frame, which costs it microseconds whoever watches. `page`
(Starlette, the extra `web`) and `metrics` (standard library) read the board from their own threads.
"""

from __future__ import annotations

from tracker.serving.access import Access, Address
from tracker.serving.board import Board, Channel
from tracker.serving.clock import RecentClock

__all__ = ["Access", "Address", "Board", "Channel", "RecentClock"]
