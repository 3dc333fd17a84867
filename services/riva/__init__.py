"""NVIDIA Riva's voices, asked over gRPC or over the HTTP of its NIM container."""
