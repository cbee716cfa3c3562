"""Settings of training and evaluation runs; each file's docstring is its receipt."""
