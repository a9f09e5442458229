"""Environments: anything Gymnasium can make, as batches of uint8 pixels and scaled actions."""
