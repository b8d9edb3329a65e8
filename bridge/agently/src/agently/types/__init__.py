"""Agently's package `agently.types`: types for annotations."""
