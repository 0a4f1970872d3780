"""What the stages write, in and out: pictures, tables, tensors; whole or not at all."""
