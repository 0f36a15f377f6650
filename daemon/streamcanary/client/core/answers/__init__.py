"""The answers of both APIs: their readers, what an answer consists of, and whether it is complete."""
