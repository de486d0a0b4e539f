"""Where a machine keeps fetched models, and where a user's own registry is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tracker.errors import ConfigError

CACHE_VARIABLE = "TRACKSTREAM_CACHE"
REGISTRY_VARIABLE = "TRACKSTREAM_REGISTRY"


def cache_folder() -> Path:
    """Folder of the fetched models, `models` in the user's cache; `TRACKSTREAM_CACHE` names another cache.

    Raises:
        ConfigError: there is no home folder and no variable that names one.
    """
    return _own_folder(CACHE_VARIABLE, "XDG_CACHE_HOME", ".cache", "Library/Caches", "LOCALAPPDATA") / "models"


def user_registry() -> Path | None:
    """The user's own registry: what `TRACKSTREAM_REGISTRY` names, or `models.toml` in his configuration folder."""
    named = os.environ.get(REGISTRY_VARIABLE)
    if named:
        return Path(named)
    try:
        folder = _own_folder("", "XDG_CONFIG_HOME", ".config", "Library/Application Support", "APPDATA")
    except ConfigError:
        return None
    file = folder / "models.toml"
    return file if file.is_file() else None


def _own_folder(variable: str, xdg: str, unix: str, mac: str, windows: str) -> Path:
    """The engine's folder among a user's folders of one kind, by the platform's rule."""
    if os.environ.get(variable):
        return Path(os.environ[variable])
    if os.environ.get(xdg):
        return Path(os.environ[xdg], "trackstream")
    if sys.platform == "win32" and os.environ.get(windows):
        return Path(os.environ[windows], "trackstream")
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise ConfigError(f"there is no home folder to keep models in; set {variable or xdg} to a folder")
    return Path(home, mac if sys.platform == "darwin" else unix, "trackstream")
