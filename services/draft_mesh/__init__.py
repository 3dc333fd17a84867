"""The draft mesh engine: product models in metres, wearing the campaign's label, as GLB."""
