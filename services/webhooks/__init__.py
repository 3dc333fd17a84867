"""The webhooks' sender: who is told of a result over HTTP, and that it is told."""
