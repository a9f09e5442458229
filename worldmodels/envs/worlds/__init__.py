"""Built-in pixel worlds, one file each."""
