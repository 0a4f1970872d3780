"""What everything is called: params, paths, columns, mistakes. It derives nothing."""
