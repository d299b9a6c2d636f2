"""What a build costs, beside what people use instead: ``python -m tests.bench``."""
