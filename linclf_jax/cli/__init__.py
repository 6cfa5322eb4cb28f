"""Flags, console and progress: the only place that parses and prints."""
