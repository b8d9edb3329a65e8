"""What exists while an execution runs: its runtime, `ingress` (the entry for every change), and the users' handles."""
