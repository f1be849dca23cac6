"""Python's garbage collector during an import."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_OBJECTS_PER_COLLECTION: Final = 20_000


@contextmanager
def garbage_collected_rarely() -> Iterator[None]:
    """Collect rarely, and skip existing objects. Processes that the block starts inherit both settings.

    An import creates and drops hundreds of thousands of rows without reference cycles. A search for cycles would take a
    tenth of the import's time.
    """
    if gc.get_freeze_count():  # A caller already did this.
        yield
        return
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS_PER_COLLECTION, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
