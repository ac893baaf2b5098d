"""`python -m tools.pretraining`."""

from .pretrain import main

if __name__ == "__main__":
    main()
