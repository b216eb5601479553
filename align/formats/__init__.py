"""Corrections from and for other trainers' files. Knows the files and the store, but no model and no HTTP."""
