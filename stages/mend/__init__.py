"""Mends the files in which DVC keeps its own state, after a kill cut one off."""
