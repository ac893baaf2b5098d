"""Commands of this program as tasks: on the devices of this machine, under Slurm, or in a Ray cluster."""
