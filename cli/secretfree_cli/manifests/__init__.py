"""Manifest formats: files of suppliers, factories and benches, split into entries and read as rows for the gate."""
