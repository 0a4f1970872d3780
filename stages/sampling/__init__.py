"""Pictures from prompts: noise, guidance, the denoising loop, batches that survive a kill."""
