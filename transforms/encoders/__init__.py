"""Pixels to vectors: what an encoder is, where it comes from, and the engines that run it."""
