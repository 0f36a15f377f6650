"""What the headers of a response report besides the answer: rate limits, and the retirement of a model."""
