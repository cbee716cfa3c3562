"""Suffixes of the image files that are read, by which folders and archives are searched."""

from __future__ import annotations

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
    | {".jp2", ".j2k", ".ppm", ".pgm", ".pnm", ".tga"}
)
