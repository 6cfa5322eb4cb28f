"""The run directory: what is written, how it is checked, and how it is shown."""
