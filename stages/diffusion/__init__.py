"""Stable Diffusion: loading, sampling, training. Each module imports only those before it.

components, prompts, latents, noise, guidance, denoise, context, sampling, cross_attention, loss,
batches, train, resume
"""
