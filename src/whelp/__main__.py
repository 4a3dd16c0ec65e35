"""`python -m whelp`, for where the folder of installed commands is not on the path."""

from whelp.cli.main import main

if __name__ == "__main__":
    main()
