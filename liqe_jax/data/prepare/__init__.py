"""Preparing data sets: finding, decoding, checking and storing images and labels."""
