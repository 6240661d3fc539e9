"""Our own tensorflow-datasets builders: one data set, one file; the file name is its name."""
