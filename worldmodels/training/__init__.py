"""Training: Lightning modules and callbacks (optimisers, collection and logging only)."""
