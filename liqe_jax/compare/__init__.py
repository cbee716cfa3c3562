"""Comparisons of scorers and of labels: gMAD, realignment, rank tests."""
