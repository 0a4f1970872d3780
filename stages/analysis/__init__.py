"""Paired comparison of two score tables, the words for what it shows, its tables. No torch."""
