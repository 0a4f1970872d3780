"""What each method trains or imports, and how it is saved and put back: weights, LoRA, a word."""
