"""`python -m stillhouse`, and so `accelerate launch -m stillhouse`."""

from stillhouse.cli.main import main

if __name__ == "__main__":
    main()
