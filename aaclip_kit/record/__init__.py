"""What a run leaves on disk: its folder, its manifest, its events and its pictures."""
