"""What lets a run go on after it has died: snapshots of its whole state, a lock on its folder, and orderly stops."""
