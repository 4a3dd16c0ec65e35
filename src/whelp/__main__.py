"""`python -m whelp`, and so `torchrun -m whelp`: the command without its script."""

from whelp.cli.main import main

if __name__ == "__main__":
    main()
