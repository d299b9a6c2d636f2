"""Asking a running cluster."""
