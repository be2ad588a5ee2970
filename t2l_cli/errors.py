"""Every failure that t2l explains to its user.

    T2LError                  exit 1: the work failed
    ├── RequestError          exit 2: the request is wrong, nothing was done
    ├── WeightsError          exit 1: model weights could not be had or trusted
    ├── DeviceMemoryError     exit 1: the accelerator ran out of memory
    ├── DivergedError         exit 1: a loss became NaN or infinite
    └── OutputError           exit 1: a result could not be written

The message is one or two lines for the person at the terminal: what is wrong, then what to do. Foreign
exceptions are re-raised as one of these with ``from``, so that ``--verbose`` can show the cause.
"""


class T2LError(Exception):
    """The work failed. Base of all errors that the program reports in a line."""

    exit_code = 1


class RequestError(T2LError):
    """The request is wrong (option, file, size); nothing was done."""

    exit_code = 2


class WeightsError(T2LError):
    """Model weights are missing, broken or unreachable."""


class DeviceMemoryError(T2LError):
    """The accelerator's memory does not hold the job."""


class DivergedError(T2LError):
    """A loss turned NaN or infinite; the last good result is kept."""


class OutputError(T2LError):
    """A result could not be written; no half-written file is left behind."""
