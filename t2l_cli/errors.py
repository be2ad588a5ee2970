"""Every failure that t2l explains to its user.

    T2LError                  exit 1  failed     the work failed
    ├── RequestError          exit 2  request    the request is wrong, nothing was done
    ├── StoppedError          exit 1  stopped    stopped before there was anything to keep
    ├── WeightsError          exit 1  weights    model weights could not be had or trusted
    ├── DeviceMemoryError     exit 1  memory     the accelerator ran out of memory
    ├── DivergedError         exit 1  diverged   a loss became NaN or infinite
    ├── OutputError           exit 1  output     a result could not be written
    └── WorkerError           exit 1  worker     a batch's worker died each time that it did this job

The message is one or two lines for a person: what is wrong, then what to do. The word in the third column is the
error's ``code``, for programs; it never changes. ``CODES`` has them all, also those of other exceptions. Foreign
exceptions are re-raised as one of these with ``from``, so that ``--verbose`` can show the cause.
"""


class T2LError(Exception):
    """The work failed.

    Base of all errors that the program reports in a line.
    """

    exit_code = 1
    code = "failed"


class RequestError(T2LError):
    """The request is wrong (option, file, size); nothing was done."""

    exit_code = 2
    code = "request"


class StoppedError(T2LError):
    """Somebody stopped the work before there was anything to keep."""

    code = "stopped"

    def __init__(self, text: str = "stopped; nothing was written.") -> None:
        super().__init__(text)


class WeightsError(T2LError):
    """Model weights are missing, broken or unreachable."""

    code = "weights"


class DeviceMemoryError(T2LError):
    """The accelerator's memory does not hold the job."""

    code = "memory"


class DivergedError(T2LError):
    """A loss turned NaN or infinite; the message says what is kept."""

    code = "diverged"


class OutputError(T2LError):
    """A result could not be written; no half-written file is left behind."""

    code = "output"


class WorkerError(T2LError):
    """A worker of a batch died at this job, each time that it was tried."""

    code = "worker"


_KINDS: tuple[type[T2LError], ...] = (T2LError, *T2LError.__subclasses__())
CODES: dict[str, str] = {
    **{kind.code: (kind.__doc__ or "").partition("\n")[0] for kind in _KINDS},
    "memory": "The memory of the machine, or of the accelerator, does not hold the job.",
    "system": "The operating system refused something, such as reading a file.",
    "installation": "A part of the installation is missing.",
    "bug": "A fault of the program itself.",
}
"""The meaning of every code."""


def code_of(error: BaseException) -> str:
    """The code of any exception."""
    if isinstance(error, T2LError):
        return error.code
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's word for it
        return "memory"
    if isinstance(error, ImportError):
        return "installation"
    return "system" if isinstance(error, OSError) and error.errno is not None else "bug"
