"""A report: one HTML file that shows edits to a person, offline."""
