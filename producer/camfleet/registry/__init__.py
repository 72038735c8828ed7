"""The registered models, read side: cards, and which digest an id stands for."""
