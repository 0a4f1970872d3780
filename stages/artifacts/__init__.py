"""Files in and out: tables, tensors and pictures, and the wording of captions."""
