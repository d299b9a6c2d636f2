"""One module for each place a member's documents can go."""
