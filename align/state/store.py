"""All tables of one database, by name."""

from __future__ import annotations

from .adapters import Adapters
from .claims import Claims
from .corrections import Corrections
from .database import Database
from .erasures import Erasures
from .expiry import Expiry
from .imports import Imports
from .insertions import Insertions
from .keys import Keys
from .leases import Leases
from .outcomes import Outcomes
from .proposals import Proposals
from .replicas import Replicas
from .responses import Responses
from .reviews import Reviews
from .rollouts import Rollouts
from .runs import Runs
from .secrets import Secrets
from .statistics import Statistics


class Store:
    def __init__(self, url: str) -> None:
        """Opens and migrates. Raises `StateError` where the database cannot be used."""
        self.database = Database(url)
        self.responses = Responses(self.database)
        self.corrections = Corrections(self.database)
        self.insertions = Insertions(self.database)
        self.reviews = Reviews(self.database)
        self.claims = Claims(self.database)
        self.statistics = Statistics(self.database)
        self.imports = Imports(self.database)
        self.runs = Runs(self.database)
        self.leases = Leases(self.database)
        self.adapters = Adapters(self.database)
        self.proposals = Proposals(self.database)
        self.rollouts = Rollouts(self.database)
        self.outcomes = Outcomes(self.database)
        self.replicas = Replicas(self.database)
        self.keys = Keys(self.database)
        self.secrets = Secrets(self.database)
        self.erasures = Erasures(self.database)
        self.expiry = Expiry(self.database)

    def close(self) -> None:
        self.database.close()
