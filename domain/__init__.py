"""Pure values and decisions. Imports nothing that talks to a disk, a network or a clock."""
