"""Build a data set for `train.py` from videos: scene cuts, train/test split, one condition per frame."""
