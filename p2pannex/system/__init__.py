"""Services of the operating system: clocks, durable writes, file locks, disk errors, standard output."""
