"""The error of an answer that cannot be used."""


class AnswerError(Exception):
    """An answer is wrong; the message completes "the answer …", and says what would be right."""
