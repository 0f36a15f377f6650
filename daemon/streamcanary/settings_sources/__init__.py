"""Where settings come from: a YAML file, ``${VAR}`` in it, and overrides from the environment.

Knows of no section: everything is read off the pydantic model that is to be filled.
"""
