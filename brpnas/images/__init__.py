"""Images to calibrate and test a trained network with, from whatever file they come in."""

from brpnas.images.image_set import ImageSet
from brpnas.images.normalisation import CIFAR10, IMAGENET, Normalisation, parse_normalisation
from brpnas.images.npz import read_arrays
from brpnas.images.read import read_image_set

__all__ = [
    "CIFAR10",
    "IMAGENET",
    "ImageSet",
    "Normalisation",
    "parse_normalisation",
    "read_arrays",
    "read_image_set",
]
