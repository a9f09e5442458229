"""Replay: episodes on disk, a byte-budgeted buffer, and sequence sampling."""
