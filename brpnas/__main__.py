"""``python -m brpnas``: the same as ``brpnas``, where scripts are not on the path."""

from brpnas.cli import main

if __name__ == "__main__":  # workers import it too
    main()
