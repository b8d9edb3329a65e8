"""What is written to files and stores, and read again: values as payloads, and flows as data."""
