"""The faults that the simulator plays, and how a model's name selects one."""
