"""The draft speech engine: a scratch voice with word timings, on the CPU and without weights."""
