"""Latent dynamics: how a state moves under an action, and how a frame corrects it."""
