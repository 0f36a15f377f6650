"""HTTP/1.1 of the simulator: request parsing, response writing, and connection handling."""
