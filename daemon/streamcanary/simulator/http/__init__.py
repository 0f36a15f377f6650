"""HTTP/1.1 for the simulator: request parsing, response writing, and the ways to end a connection."""
