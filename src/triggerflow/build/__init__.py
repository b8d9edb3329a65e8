"""What a user writes with: flows as blueprints, chains, chunks and their policies. Nothing here runs anything."""
