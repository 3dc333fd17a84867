"""Emu3.5-Image: pictures written token by token by a language model."""
