"""From watch events to keys: what changed says only which resource is worth a pass."""
