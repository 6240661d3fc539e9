"""Models: one paper, one file; the file name is the lookup name. Models never import each other."""
