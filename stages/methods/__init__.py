"""A command beside the pipeline: charts experiments that differ in how they train."""
