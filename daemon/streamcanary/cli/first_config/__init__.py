"""What the verb ``init`` needs: known endpoints, the check of its answers, the text of the file, and writing it."""
