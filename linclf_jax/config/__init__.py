"""Configurations of studies, as frozen dataclasses, and protocols of papers as data."""
