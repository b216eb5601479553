"""The same load on one server for an hour, and what of it has grown in the end."""
