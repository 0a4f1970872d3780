"""Stable Diffusion: loading, sampling, training. Each module imports only those before it.

components, prompts, latents, noise, guidance, denoise, sampling, cross_attention, loss, batches,
train, resume
"""
