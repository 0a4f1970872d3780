"""The parts of a base model: loading them, prompts to embeddings, pictures to latents and back."""
