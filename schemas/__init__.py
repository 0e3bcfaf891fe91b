"""The tables of refervos, declared once, and the checks at its doors. Imports nothing else of the project."""
