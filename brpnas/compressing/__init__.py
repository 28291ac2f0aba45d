"""Compressing a trained network for a device: what ``brpnas search --space lowrank`` does."""
