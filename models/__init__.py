"""Networks, losses and the trainer: from clips to frames and steps."""
