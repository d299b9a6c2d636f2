"""``python -m imagegen`` is ``imagegen``."""

from imagegen.cli.entry import main

main()
