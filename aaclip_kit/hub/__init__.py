"""Models on the Hugging Face hub: their addresses, the list that pins their files, and the hub's client."""
