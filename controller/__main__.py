"""`python -m controller` is `podpulse`."""

from controller.cli import main

main()
