"""A space, a predictor, two strategies and a device for brpnas."""
