"""The variables that configure a Region's emulator for the cloud's other Regions."""

from __future__ import annotations

PEERS_VARIABLE = "SECRETFREE_PEERS"
"""JSON: the endpoints of the other Regions' emulators, by Region. Absent in a cloud of one Region."""
OUTBOX_VARIABLE = "SECRETFREE_OUTBOX"
"""Path of the Region's outbox."""
LAG_VARIABLE = "SECRETFREE_REPLICATION_LAG_FILE"
"""Path of a file with the replication lag in seconds. It is read repeatedly; a missing file means no lag."""
