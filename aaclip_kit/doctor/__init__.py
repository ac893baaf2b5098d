"""What `aakit doctor` looks at: this machine, what is installed on it, and what to do about what is wrong."""
