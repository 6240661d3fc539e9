"""Exports that TF Serving loads, a server that answers as TF Serving does, and a client of both."""
