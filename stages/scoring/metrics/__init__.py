"""Measures of a picture: `registry` lists all of it, CONTRIBUTING.md says how to add one."""
