"""Metrics, protocols and comparisons as functions of arrays, and the reports made of them."""
