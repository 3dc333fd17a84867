"""How messages and bytes travel: NATS JetStream and S3 behind typed calls. Imports contracts."""
