"""InstantIR: restoration with SDXL that previews its own result at every step (Huang et al. 2024, arXiv 2410.06551).

The way of a picture: ``perception`` reads it with DINOv2, ``resampler`` and ``image_attention`` let the UNet read that;
at each step ``previewer`` guesses the clean picture, ``aggregator`` compares it with the damaged one, and its residuals
correct the UNet (``correction``, ``denoiser``); ``sampling`` takes the steps. UNet, VAE, text encoders, tiles and colour
fix are those of SUPIR's part of the library.
"""
