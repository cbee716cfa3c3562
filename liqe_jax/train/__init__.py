"""What training adds to the model: losses, weightings, the step, the loop."""
