"""Coverage-guided fuzzing (atheris) of whatever reads what others wrote.

A target is one module: ``seeds()`` makes its first inputs, from the examples and
from what imagegen builds; ``mutate`` changes one where it matters, so that not only
the scanner of YAML or DER is exercised; ``check`` runs what is fuzzed in this process
and says what must hold. The harness adds what must hold for all: nothing but
ImagegenError comes out, in bounded time and memory.

    python -m tests.fuzz --runs specs=1000000 isos=200000
    python -m tests.fuzz --seconds 60 specs isos certificates

Seeds and corpus are in a temporary directory, for they hold (worthless) keys. What
failed is kept in out/fuzz/; it becomes a test under a name that says what it found.
"""
