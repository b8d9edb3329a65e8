"""What lives while an execution runs: its runtime, the one way in (`ingress`), and the handles that users hold."""
