"""What training adds to the model. So far: losses, dynamic weights and learning rates."""
