"""``hummingbird prune``: students from a teacher's checkpoint, and the study of which of its blocks matter."""
