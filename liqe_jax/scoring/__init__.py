"""The public scorer, its results and its pictures."""
