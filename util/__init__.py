"""What every other package may import: the nouns, errors, checkpoints, devices, pages and images."""
