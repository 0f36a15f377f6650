"""What streamcanary costs, measured: ``python -m bench``."""
