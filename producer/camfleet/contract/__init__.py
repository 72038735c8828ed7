"""What producers and workers say to each other: messages, records, results, and their encoding."""
