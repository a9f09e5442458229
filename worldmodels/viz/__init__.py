"""Seeing: tensors to frames, videos and figures; no model code."""
