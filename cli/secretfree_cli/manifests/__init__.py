"""Manifest formats: files of suppliers, factories and benches, cut into entries and read as rows for the gate."""
