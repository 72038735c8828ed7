"""Results in the formats of annotation tools: where the model looked, as boxes, outlines, masks."""
