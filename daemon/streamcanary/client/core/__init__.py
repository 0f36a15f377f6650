"""State machine of a streaming call without I/O: SSE and JSON decoding, attempts, fault classification, retry plan."""
