"""Several processes that compute together, and the device that each computes on."""
