"""Training: forward pass, device groups, schedule, trainer, monitoring and resuming."""
