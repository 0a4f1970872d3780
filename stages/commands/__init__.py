"""What people run beside the pipeline; `python -m stages.commands.NAME`."""
