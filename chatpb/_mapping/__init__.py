"""The mapping: JSON to messages and back, by what the descriptors say."""
