"""Run a stage in several processes: `launch` in params.yaml."""
