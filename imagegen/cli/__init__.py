"""The command line: it prints, exits, and reads clock and environment."""
