"""Studies from data to a sealed run directory: fit, select, test once, write."""
