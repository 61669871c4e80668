"""`python -m ultrafast` is the command `ultrafast`. Stands on `ultrafast.cli`."""

from ultrafast.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
