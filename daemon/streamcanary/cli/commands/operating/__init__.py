"""The verbs that ask or change a running daemon."""
