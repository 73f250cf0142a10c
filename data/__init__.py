"""From files on disk to clips: sequences, which frames, how they are cut, and what each domain makes of a frame."""
