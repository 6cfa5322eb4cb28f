"""Experiment scripts, run as ``python -m experiments.NAME --flag=value``."""
