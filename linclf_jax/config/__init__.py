"""What a study is told, as frozen dataclasses, and the protocols of papers as data."""
