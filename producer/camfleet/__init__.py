"""camfleet: explain image classifiers at queue scale (the producer's side; light to import)."""
