"""Fixtures for all tests of telemetry."""

import logging

import pytest


@pytest.fixture(autouse=True)
def restore_loggers():
    """Restore the loggers of the process after each test."""
    root, sdk = logging.getLogger(), logging.getLogger("opentelemetry")
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in (root, sdk)]
    yield
    logging.captureWarnings(capture=False)
    for logger, handlers, propagate, level in before:
        for handler in [handler for handler in logger.handlers if handler not in handlers]:
            logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
