"""mergekit's YAML as a request, where this suite's rows do the same; else refused."""
