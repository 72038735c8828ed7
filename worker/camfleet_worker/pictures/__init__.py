"""From image files to model input, and from maps to pictures and regions."""
