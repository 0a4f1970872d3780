"""A command beside the pipeline: writes the fine-tuned model as other programs read it."""
