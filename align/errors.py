"""What can go wrong while learning.

AlignError
├── InvalidSpans        a correction's spans do not fit the served text
├── UnfitPair           a correction cannot become a training pair (too long, nothing changed)
├── InvalidImage        bytes that are missing or decode to no image
├── InvalidConversation the model's template or processor refuses a conversation
├── InvalidDataset      a file cannot be read as the format that was named
├── UnfitRow            a row of a dataset says no correction, or a format cannot say this one
├── InvalidAdapter      an adapter's files are damaged, foreign, or match no module
├── NothingToLearn      too few corrections for a run
├── TrainingFailed      a run broke off: the loss is no number, or a worker died
├── TrainingStopped     a run was told to stop, and goes on from its checkpoint when it is started again
├── EvaluationFailed    the gate's measurement broke off, or took longer than it may
├── NotFound            no such response, correction, run or adapter
├── Conflict            the same key or state change with another content
│   └── TakenOver       another aligner goes on with the run
└── StateError          the store or the blobs cannot be used as they are
    └── BlobsAway       the blobs cannot be reached or used just now
"""


class AlignError(Exception):
    """The root: every error of this package says what happened and what to do next."""


class InvalidSpans(AlignError):
    pass


class UnfitPair(AlignError):
    pass


class InvalidImage(AlignError):
    pass


class InvalidConversation(AlignError):
    pass


class InvalidDataset(AlignError):
    pass


class UnfitRow(AlignError):
    pass


class InvalidAdapter(AlignError):
    pass


class NothingToLearn(AlignError):
    pass


class TrainingFailed(AlignError):
    pass


class TrainingStopped(AlignError):
    pass


class EvaluationFailed(AlignError):
    pass


class NotFound(AlignError):
    pass


class Conflict(AlignError):
    pass


class TakenOver(Conflict):
    pass


class Outdated(Conflict):
    """A run that broke off cannot go on as it began; another one can."""


class StateError(AlignError):
    pass


class BlobsAway(StateError):
    pass
