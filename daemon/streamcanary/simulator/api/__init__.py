"""OpenAI's APIs as the simulator speaks them: Chat Completions, Responses, and error bodies."""
