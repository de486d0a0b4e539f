"""Times that a tracker can use, out of the time stamps that streams really have."""

from __future__ import annotations

import math

_RESTART_S = 1.0  # a jump back by more is a new clock, by less a disordered stamp


class Timeline:
    """Seconds since the first frame, strictly increasing.

    - The first frame is at 0, whatever its stamp.
    - A stamp that is missing, not finite or not later than the frame before is replaced by that frame plus the
      step; the stamps after it count again as soon as they are ahead.
    - A jump back by over a second means that the stream's clock was set anew: time goes on one step after the frame
      before, and later stamps are measured from there. A jump forward is a real gap and stays one.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._shift: float | None = None

    def restart(self) -> None:
        """The next stamp is of another clock: it comes one step after the last frame, whatever it says."""
        self._shift = None

    def place(self, stamp_s: float | None, step_s: float) -> float:
        """Time of the next frame.

        Args:
            stamp_s: as the stream says; None if it says nothing.
            step_s: > 0, how long after the frame before it this one is, if its stamp is of no use.
        """
        if stamp_s is not None and not math.isfinite(stamp_s):
            stamp_s = None
        expected = 0.0 if self._last is None else self._last + max(step_s, 1e-6)
        if stamp_s is None:
            time_s = expected
        else:
            if self._shift is None:
                self._shift = expected - stamp_s
            time_s = stamp_s + self._shift
            if self._last is not None and time_s <= self._last:
                if time_s < self._last - _RESTART_S:
                    self._shift = expected - stamp_s
                time_s = expected
        self._last = time_s
        return time_s
