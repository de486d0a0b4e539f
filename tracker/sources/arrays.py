"""Any Python iterable of images or frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np

from tracker.errors import SourceError
from tracker.sources.source import Source, SourceOptions
from tracker.types import Frame


class ArraysSource(Source):
    """Numbers and times the images of an iterable; `Frame` objects pass as they are.

    Frame k of plain arrays is at k / fps seconds. Nothing is read ahead, so a generator may block until its camera
    has the next image. Images are handed on without copying; the caller must not draw on them afterwards.
    """

    name = "arrays"
    size = None
    live = False
    dropped = 0

    def __init__(self, images: Iterable[Any], options: SourceOptions) -> None:
        """Wrap `images`; an array (N, H, W, 3) is an iterable too.

        Raises:
            SourceError: not an iterable, or one single image.
        """
        if isinstance(images, np.ndarray) and images.ndim == 3:
            raise SourceError("expected an iterable of images, got one image; put it into a list: [image]")
        if not isinstance(images, Iterable):
            raise SourceError(
                f"expected a source address or an iterable of images, got {type(images).__name__}"
                + (f'; a camera is its number as text, "{images}"' if type(images) is int else "")
            )
        self.fps = options.fps
        self.length = len(images) if isinstance(images, Sized) else None
        self._images: Iterator[Any] = iter(images)
        self._closed = False
        self._frames = self._read()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """End the iteration; the iterable itself is left alone."""
        self._closed = True

    def _read(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            if self._closed:
                return
            yield image if isinstance(image, Frame) else Frame(index, index / self.fps, image)
