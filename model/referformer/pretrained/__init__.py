"""Weights of other projects as the start of a training: a backbone, a text encoder."""
