"""The sources of settings: a YAML file, ``${VAR}`` references in it, and overrides from the environment.

No source depends on a section: the keys and types come from the pydantic model.
"""
