"""The HTTP port: OpenAI's API, and all other paths."""
