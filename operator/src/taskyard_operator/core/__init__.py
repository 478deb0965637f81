"""The operator's pure core: values and decisions, no I/O."""
