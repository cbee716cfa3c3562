"""Photographs to patches, with NumPy and Pillow alone."""
