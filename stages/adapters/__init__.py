"""What each method trains, and how it is saved and put back: weights, LoRA, a new word."""
