"""The training loop: the lesson, its batches, loss and optimizer, and how a run resumes."""
