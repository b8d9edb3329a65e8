"""Model output as a source of signals: instant parsing, responses and providers."""
