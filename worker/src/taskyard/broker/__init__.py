"""Everything that knows brokers: connections, topology, deliveries, delays and the transports of our own."""
