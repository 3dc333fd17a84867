"""A person of a picture, moved as in a driving video, by the Wan-Animate models."""
