"""From a model file to an explainer: load, cut, verify, compile, cache; and the maths."""
