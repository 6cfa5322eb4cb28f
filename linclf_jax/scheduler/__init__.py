"""Trials trained within memory and devices, stopped and gone on with."""
