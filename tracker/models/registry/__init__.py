"""Registry: models that can be fetched by name, and where this machine keeps them.

The wheel carries `assets/models.toml`; a user's own TOML is laid over it, key by key, so it can add models or point a
known one at a mirror. Every entry is pinned by the SHA-256 of its file. What is named here touches no network: fetching
is `tracker.models.registry.download`, and only `tracker models pull` and `--pull` call it.

tables.py    name -> Entry, from TOML
entry.py     one model: its facts, its card, its file in the cache
folders.py   the user's cache and his own registry
download.py  an entry's file into the cache, whole or not at all
transfer.py  one file over the network, resumed
"""

from tracker.models.registry.entry import Entry, locate
from tracker.models.registry.folders import cache_folder
from tracker.models.registry.tables import find, lookup, read_registry

__all__ = ["Entry", "cache_folder", "find", "locate", "lookup", "read_registry"]
