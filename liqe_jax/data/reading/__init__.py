"""Reading prepared data sets: labels in memory, batches for training and evaluation."""
