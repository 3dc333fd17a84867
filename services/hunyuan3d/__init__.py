"""Tencent's Hunyuan 3D: the open model in a Python of its own, and the newer ones by their API."""
