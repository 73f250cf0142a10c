"""Shared utilities: clips, errors, logging, devices and processes, images, files and HTML pages."""
