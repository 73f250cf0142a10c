"""Evaluation: image and video metrics."""
