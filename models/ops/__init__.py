"""The same arithmetic in less time on a CPU. Every function here has a plain counterpart in `torch.nn.functional`,
which runs everywhere else and which tests compare with; `models.ops.dispatch` says which of the two runs."""
