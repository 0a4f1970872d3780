"""Scores of single pictures: CLIP cosine, zero-shot class, brightness and contrast."""
