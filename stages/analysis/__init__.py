"""Paired comparison of two score tables, and the words for what it shows. No torch."""
