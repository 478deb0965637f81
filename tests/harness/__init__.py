"""What demo, end-to-end tests and benchmarks share: senders, watchers and the verdict on a run."""
