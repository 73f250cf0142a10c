"""HTML pages of training, results and evaluation."""
