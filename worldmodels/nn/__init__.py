"""Neural building blocks: encoders, decoders, heads and distributions."""
