"""Room: images."""
