"""What every source offers, and the options that they share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

from typing_extensions import Self

from tracker.errors import ConfigError
from tracker.types import Frame
