"""Condition extractors: edges, face landmarks, body poses and label maps."""
