"""A client of the Pelago protocol, version 1, written from docs/protocol.md. Standard library only."""
