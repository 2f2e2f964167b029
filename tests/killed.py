"""The end of a process, inside of it: nothing is cleaned up."""


class Killed(BaseException):
    """Nothing in the program catches this."""
