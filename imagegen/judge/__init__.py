"""What exists, judged offline."""
