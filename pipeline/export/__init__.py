"""Runs in the forms that others read: one file for each format."""
