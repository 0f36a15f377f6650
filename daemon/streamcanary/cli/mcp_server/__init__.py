"""The MCP server, with which an agent asks a running daemon."""
