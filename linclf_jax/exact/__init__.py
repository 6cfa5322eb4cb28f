"""Penalised fits to a proven optimality gap, one or many at once."""
