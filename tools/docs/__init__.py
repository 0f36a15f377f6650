"""Generators of the documentation: each module writes one page of ``docs/`` from the code and from ``words/``.

``words/`` has the descriptions and examples that the code lacks. A key, option, metric, attribute or fault without a
description is an error, and so is a description of something that no longer exists.
"""
