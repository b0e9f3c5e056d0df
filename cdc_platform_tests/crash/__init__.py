"""Merges killed at every effect they have, and what the next process finds."""
