"""An exception class for each status of ditq.h, each also the built-in exception that a Python program would expect."""


class Error(Exception):
    """A call of the library that failed. The message names what was found and what was expected."""


class InvalidArgument(Error, ValueError):
    """A parameter is out of range, or a buffer is too small."""


class NotFound(Error, LookupError):
    """No such file, class name, layer or tensor."""


class IOFailed(Error, OSError):
    """The system refused to read or write; the message has its reason."""


class Malformed(Error, ValueError):
    """The bytes are not what they claim to be."""


class Unsupported(Error, NotImplementedError):
    """Well-formed, but not something this version runs."""


class OutOfMemory(Error, MemoryError):
    """There is not enough memory."""


class Cancelled(Error):
    """`Session.cancel` ended the call. The session is as usable as before."""


class ChecksumMismatch(Error, ValueError):
    """A file is not the one that was expected, or has changed."""


class Internal(Error, RuntimeError):
    """A bug of the library: please report it."""


BY_STATUS = {
    1: InvalidArgument, 2: NotFound, 3: IOFailed, 4: Malformed, 5: Unsupported, 6: OutOfMemory, 7: Cancelled, 8: ChecksumMismatch, 9: Internal,
}  # fmt: skip
