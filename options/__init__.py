"""The command line: flags, the rules between them, and the frozen configurations made from them."""
