"""The variables by which a Region's emulator gets to know the cloud's other Regions."""

from __future__ import annotations

PEERS_VARIABLE = "SECRETFREE_PEERS"
"""JSON: the endpoints of the other Regions' emulators, by Region. Absent in a cloud of one Region."""
OUTBOX_VARIABLE = "SECRETFREE_OUTBOX"
"""Path of the Region's outbox."""
LAG_VARIABLE = "SECRETFREE_REPLICATION_LAG_FILE"
"""Path of a file with the seconds that a write takes to another Region. Read again and again; none for no lag."""
