"""Reviews: a frozen set of images with which each new version of a model is compared."""
