"""The types of data that come out."""
