"""Manifest formats: what suppliers, factories and benches hand over, cut into entries and read as rows for the gate."""
