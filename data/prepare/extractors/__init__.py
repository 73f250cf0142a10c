"""Condition extractors: edges, facial landmarks, body poses, label maps."""
