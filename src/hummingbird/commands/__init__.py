"""The commands of ``hummingbird``, a file for each subject. They import what they need when they run."""
