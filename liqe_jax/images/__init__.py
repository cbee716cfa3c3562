"""Photographs to crops, with NumPy and Pillow alone."""
