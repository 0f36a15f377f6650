"""What every test of telemetry finds, and leaves as it was."""

import logging

import pytest


@pytest.fixture(autouse=True)
def restore_loggers():
    """Undo what a test does to the loggers of the whole process."""
    root, sdk = logging.getLogger(), logging.getLogger("opentelemetry")
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in (root, sdk)]
    yield
    logging.captureWarnings(capture=False)
    for logger, handlers, propagate, level in before:
        for handler in [handler for handler in logger.handlers if handler not in handlers]:
            logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
