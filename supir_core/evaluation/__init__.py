"""Comparisons: damage on purpose, and how far a result is from the original."""
