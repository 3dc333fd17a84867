"""The runtime of a model service: one delivery, one claim, one verdict; the model in its child."""
