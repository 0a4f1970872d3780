"""A command beside the pipeline: pools experiments that differ in their training seed."""
