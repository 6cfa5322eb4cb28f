"""The page of a run directory, made from its record alone."""
