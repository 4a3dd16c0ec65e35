"""The commands of the terminal, one file a group: names, options and help. Each calls one function of the wiring."""
