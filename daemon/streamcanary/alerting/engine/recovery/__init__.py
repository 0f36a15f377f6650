"""What alerts may have fired before a data loss, and how their receivers get the resolve."""
