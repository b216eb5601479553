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
├── RateLimited        the key has used up what it may ask for now (429)
├── EngineFailed       the sequence failed inside the engine (500)
├── NotReady           this replica does not hold yet what is in force, or its engine has ended (503)
├── DeadlineExceeded   it took longer than the server allows (504)
├── RayEnded           Ray itself has ended under the server
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


class RateLimited(ServeError):
    def __init__(self, message: str, retry_after_s: float) -> None:
        """After so many seconds, and not before, it is worth trying again."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineFailed(ServeError):
    pass


class NotReady(ServeError):
    pass


class EngineEnded(NotReady):
    """Of a replica: its engine's process is gone, and nothing but another replica can help."""


class DeadlineExceeded(ServeError):
    pass


class RayEnded(ServeError):
    pass


class SettingsError(ServeError):
    pass
