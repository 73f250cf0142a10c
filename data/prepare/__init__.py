"""From people's own videos to a data set for `train.py`: shots, a split by time, a condition for every frame."""
