"""Every exception the engine raises on purpose.

TrackerError                        catch this one to catch them all
├── DetectionsError (ValueError)    a frame's detections cannot be used: shape, dtype, NaN, inverted box
├── MasksError (ValueError)         masks that do not fit together: size, count, broken RLE
├── FrameError (ValueError)         an image or a time stamp that cannot be used
├── ConfigError (ValueError)        an option, a TOML key or a plan that makes no sense
├── SourceError (OSError)           a video, folder, camera or stream that cannot be opened or read
├── SinkError (OSError)             an output that cannot be written
├── SnapshotError (OSError)         a saved tracker that cannot be written, read or continued
├── FormatError (ValueError)        a dataset file that breaks its format; names file and line
└── ModelError (ValueError)         not an ONNX model, wrong family, unknown outputs, broken card
    ├── ModelNotFoundError (FileNotFoundError)
    └── ProviderError (RuntimeError)  the asked device is not the one that runs

Each leaf is also the builtin a caller would expect. A message is one line: what was wanted, what came, what to do.
"""


class TrackerError(Exception):
    """Root of the tree; its text is fit to be shown to a user as it is."""


class DetectionsError(TrackerError, ValueError):
    """A frame's detections cannot be used; the tracker's state is as it was before the call."""


class MasksError(TrackerError, ValueError):
    """Masks of different frame sizes, of the wrong number, or from a broken RLE."""


class FrameError(TrackerError, ValueError):
    """An image that is not HxWx3 uint8, or a time stamp that is not a finite number."""


class ConfigError(TrackerError, ValueError):
    """An option, a TOML key or a plan that makes no sense."""


class SourceError(TrackerError, OSError):
    """A video, folder, camera or stream that cannot be opened or read."""


class SinkError(TrackerError, OSError):
    """An output that cannot be written."""


class SnapshotError(TrackerError, OSError):
    """A saved tracker that cannot be written, or read: not one, damaged, or of another version."""


class FormatError(TrackerError, ValueError):
    """A dataset file that breaks its format; the message names file, line and reason."""


class ModelError(TrackerError, ValueError):
    """A file that is not an ONNX model, or one whose family, outputs or card do not fit."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No file under this name."""


class ProviderError(ModelError, RuntimeError):
    """The asked device is not the one that really runs."""


def why(error: BaseException) -> str:
    """What the system or a library says went wrong, as the end of one line of ours."""
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0].lower()
