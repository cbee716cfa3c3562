"""Data sets: labels, builders and pipelines. The only part that imports TensorFlow."""
