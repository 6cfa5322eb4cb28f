"""Choosing one of many settings on rows that their fits did not see."""
