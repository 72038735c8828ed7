"""`python -m examples.clever_hans.train FOLDER COUNT EPOCHS` trains the network."""

import sys
from pathlib import Path

from .network import train

if __name__ == "__main__":
    folder, count, epochs = sys.argv[1:]
    card, accuracy = train(Path(folder), int(count), int(epochs))
    print(f"trained {card.stem}: {100 * accuracy:.0f} % right on new pictures")
