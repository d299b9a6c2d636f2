"""From a cluster and its keys to the text that a member boots with."""
