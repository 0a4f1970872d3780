"""Scores of single pictures, from a CLIP scorer, from pixels, and from models of their own."""
