"""Files: atomic writes, state dicts, downloads, archives, videos, results of inference."""
