"""What can stop a tool."""


class LaunchError(Exception):
    """Something the person at the terminal has to know or mend; the text is for them."""


class StopRequested(Exception):
    """Ctrl-C or a termination signal came while something was still being waited for."""
