"""What networks cost where they run: time, memory, room on the disk."""
