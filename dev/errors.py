"""The errors that end a tool."""


class LaunchError(Exception):
    """Raised for something that the person at the terminal must know or correct; the text is for them."""


class StopRequested(Exception):
    """Raised when Ctrl-C or a termination signal came while the tool was still waiting for something."""
