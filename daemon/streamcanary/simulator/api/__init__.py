"""The OpenAI APIs of the simulator: Chat Completions, Responses, and error bodies."""
