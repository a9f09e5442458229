"""worldmodels: learn a latent simulator from pixels, then decide everything inside it."""
