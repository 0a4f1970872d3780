"""How a stage runs: start and end, processes, Ctrl-C, unfinished work. It changes no number."""
