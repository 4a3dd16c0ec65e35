"""What commands show: on a terminal, in a notebook, as JSON."""
