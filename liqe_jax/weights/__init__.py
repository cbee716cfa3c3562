"""Model files: every format in which CLIP and LIQE weights exist, and where they come from."""
