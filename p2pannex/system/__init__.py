"""What the operating system provides: clocks, durability, file locks, disk errors, standard output."""
