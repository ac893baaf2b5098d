"""`python -m aaclip_kit` is `aakit`."""

from .cli import main

if __name__ == "__main__":
    main()
