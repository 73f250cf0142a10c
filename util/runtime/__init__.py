"""Process-level utilities: random states, signals, background threads, torchvision import."""
