"""``python -m imagegen`` is ``imagegen``."""

from imagegen.cli import main

main()
