"""The machine's side: devices, memory, network."""
