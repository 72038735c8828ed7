"""Two models' maps of the same images: distances, movement, a verdict."""
