"""Data sets: labels, builders and pipelines. The only package that imports TensorFlow."""
