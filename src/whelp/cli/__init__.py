"""The wiring: the only room that knows every other room.

Each command is one file with one documented function, which `whelp.NAME(...)` calls too. `main.py` declares the
commands for the terminal; `screens/` draws. `recipe.py` puts the rooms' sections together.
"""
