"""Shots by NVIDIA Cosmos: from words, from a first picture, or on from the end of another shot."""
