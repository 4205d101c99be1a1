"""Stands in for Nova where the RPC library looks for exception classes."""
