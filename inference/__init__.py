"""How weights are run: what every service with a model needs, and only its child process imports.

Nothing here imports torch before it is used, so that a folder can be looked at without it.
"""
