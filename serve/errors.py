"""What can go wrong while serving.

ServeError
├── InvalidRequest     the body can never be answered as it is (400)
│   └── InvalidPrompt  ... because of its messages, images or length
├── Unauthenticated    no key, or one that is not known (401)
├── Forbidden          the key may not do this (403)
├── UnknownAdapter     the model or version is not served here (404)
├── Erased             the response was deleted (410)
├── Unprocessable      well-formed, but refused by a limit (422)
├── EngineFull         no room in the queue or the adapter slots now (429)
├── EngineFailed       the sequence failed inside the engine (500)
├── NotReady           this replica does not hold yet what is in force (503)
├── DeadlineExceeded   it took longer than the server allows (504)
└── SettingsError      the server cannot start as it is configured
"""


class ServeError(Exception):
    """The root: every error of this package says what happened and what to do next."""


class InvalidRequest(ServeError):
    pass


class InvalidPrompt(InvalidRequest):
    pass


class Unauthenticated(ServeError):
    pass


class Forbidden(ServeError):
    pass


class UnknownAdapter(ServeError):
    pass


class Erased(ServeError):
    pass


class Unprocessable(ServeError):
    pass


class EngineFull(ServeError):
    pass


class EngineFailed(ServeError):
    pass


class NotReady(ServeError):
    pass


class DeadlineExceeded(ServeError):
    pass


class SettingsError(ServeError):
    pass
