"""Every setting of the server, resolved once at start and handed to each process. Imports no torch."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from align.abuse.config import ScreeningConfig
from align.config import AlignmentConfig, TrainingConfig
from align.images import ImageLimits
from align.scenes import MODEL_PATH

from .engine.config import EngineConfig
from .errors import SettingsError
from .placement_settings import PlacementSettings
from .rollout_settings import RolloutSettings

__all__ = ["AlignmentSettings", "EngineConfig", "ImageLimits", "RemoteImages", "Settings"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


HostName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?$")]


class RemoteImages(_Section):
    """Which images the server fetches itself, where a request names them by URL: none, unless hosts are listed."""

    hosts: tuple[HostName, ...] = Field(
        default=(),
        description="Host names in lower case, without their subdomains, e.g. `images.example.com`; redirects may "
        "lead to these only. With `:8443` after it, that port and not those of http and https.",
    )
    networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description="Networks that are not public and where listed hosts may be all the same, e.g. `10.1.2.0/24`.",
    )
    timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds for all images of one request, looking up their hosts included.",
    )


class KeyLimits(_Section):
    """What keys may ask for that were made without limits of their own. Each replica counts for itself."""

    requests_per_minute: int | None = Field(
        default=None,
        gt=0,
        description="Requests a minute of one key, as many at once after a quiet minute; none: any.",
    )
    max_concurrent: int | None = Field(
        default=None, gt=0, description="Requests of one key that may be under way at once; none: any number."
    )


class CorrectionLimits(_Section):
    """What is still a correction, and not another text."""

    max_code_points: int = Field(default=20_000, gt=0, description="Length of a corrected text.")
    max_edit_ratio: float = Field(
        default=2.0, gt=0, description="Code points removed and inserted, over the served text's length."
    )
    small_edit: int = Field(
        default=200,
        ge=0,
        description="An edit of so few code points is never too much: short answers are corrected whole.",
    )


class QueueSettings(_Section):
    """The answers that people look through to correct them."""

    claim_s: float = Field(
        default=300.0,
        gt=0,
        description="Seconds for which nobody else is given the answer that somebody looks at.",
    )


class YieldSettings(_Section):
    """How training and the gate make way for answers, where both share a machine."""

    max_gap_ratio: float | None = Field(
        default=1.25,
        gt=1,
        description="Pause where the time between two tokens (95th percentile, of the slowest replica) is more than so "
        "many times what it is without training; none: never. Over a whole run it becomes somewhat more.",
    )
    max_pause_s: float = Field(
        default=60.0,
        ge=4,
        description="Seconds after which a run goes on for some, however slow answers are.",
    )
    remeasure_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds after which a short pause measures again how answers run without.",
    )


class AlignmentSettings(AlignmentConfig):
    """When runs start, and what becomes of the adapters they make."""

    min_corrections: int = Field(
        default=100, gt=0, description="New corrections since the last run that start another by themselves."
    )
    # a worker of Ray Train: it dies without the aligner
    training: TrainingConfig = Field(
        default=TrainingConfig(num_workers=1), description="One training run; here in a worker of Ray Train."
    )
    num_gpus: float = Field(
        default=0.0,
        ge=0,
        description="GPUs that the aligner asks Ray for, for the gate where `training.device` is `cuda`: a part of one "
        "is enough. It holds them between runs as well.",
    )
    auto_promote: bool = Field(
        default=True, description="Whether an adapter that the gate admits goes live without a person's word."
    )
    retire_tainted: bool = Field(
        default=True,
        description="Whether an adapter that learned from what was erased or rejected leaves service at once, "
        "and its files go; if not, it answers until another one takes its place.",
    )
    yielding: YieldSettings = YieldSettings()
    poll_s: float = Field(
        default=1.0, gt=0, description="Seconds between two looks for corrections and asked-for runs."
    )

    @field_validator("training", mode="before")
    @classmethod
    def _in_a_worker(cls, training: object) -> object:
        """Where other fields of it are given, too: it is this one's default that differs from `TrainingConfig`'s."""
        return {"num_workers": 1, **training} if isinstance(training, dict) else training


class RetentionSettings(_Section):
    """What is kept no longer. By default all is kept but images that no answer shows and files of no version."""

    responses_days: float | None = Field(
        default=None,
        gt=0,
        description="Days after which an answer without any correction is erased, with images that no other one shows; "
        "none: never.",
    )
    adapters: int | None = Field(
        default=None,
        gt=0,
        description="Newest admitted adapters whose files are kept, beside the one that answers and the one before; "
        "older and refused ones are retired; none: all are kept.",
    )
    every_s: float = Field(default=60.0, gt=0, description="Seconds between two looks for what to remove.")
    batch: int = Field(
        default=100, gt=0, description="Answers, images or adapters removed in one step at most."
    )


class Settings(_Section):
    model: str = Field(
        default=str(MODEL_PATH),
        description="Folder or Hugging Face id of a vision-language model; the embedded one by default.",
    )
    model_name: str = Field(
        default="errata-scenes",
        pattern="^[^@]+$",
        description="What requests and answers call it. `@` is kept for pins: NAME@v0001.",
    )
    state: Path = Field(
        default=Path(".errata"),
        description="Folder of what must survive: the database and, unless `blobs` says otherwise, the blobs. A run's "
        "checkpoints are there, too: on several nodes, a disk that all with training workers reach.",
    )
    database: str | None = Field(
        default=None,
        description="`postgresql://USER@HOST/NAME`, which nodes can share; none: SQLite, in `state`. A password "
        "need not stand here: `PGPASSWORD` and `~/.pgpass` are read.",
    )
    blobs: str | None = Field(default=None, description="fsspec URL for images and adapters.")
    host: str = Field(
        default="127.0.0.1", description="Address to listen on; beyond loopback, keys are needed."
    )
    port: int = Field(default=8000, gt=0, lt=65536, description="Port to listen on.")
    num_replicas: int = Field(
        default=1,
        gt=0,
        description="Model servers, each with the whole model; the fewest, where their number follows the load.",
    )
    default_max_tokens: int = Field(
        default=256, gt=0, description="Length of an answer, in tokens, where the request names none."
    )
    stream_hold_s: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="Seconds that a stream's tokens may wait to be sent together; its first never waits.",
    )
    request_deadline_s: float = Field(default=300.0, gt=0, description="Seconds an answer may take in all.")
    feedback_token_s: float = Field(
        default=6 * 3600.0,
        gt=0,
        description="Seconds for which the token of an answer, for a browser, may correct it.",
    )
    browser_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins whose pages may ask this server from a browser, as https://app.example; none: its own.",
    )
    max_body_bytes: int = Field(default=64 * 2**20, gt=0, description="Size of a request, images included.")
    max_body_values: int = Field(
        default=100_000,
        gt=0,
        description="Values in the JSON of a request, counted by its braces, brackets and commas, in texts as well.",
    )
    body_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds that the body of a request may take."
    )
    traces: bool = Field(
        default=False,
        description="OpenTelemetry's traces of answers and events of corrections, sent to where its `OTEL_*` variables "
        "say; needs the extra `otel`.",
    )
    placement: PlacementSettings = PlacementSettings()
    engine: EngineConfig = EngineConfig()
    images: ImageLimits = ImageLimits()
    remote_images: RemoteImages = RemoteImages()
    key_limits: KeyLimits = KeyLimits()
    corrections: CorrectionLimits = CorrectionLimits()
    queue: QueueSettings = QueueSettings()
    screening: ScreeningConfig = ScreeningConfig()
    rollout: RolloutSettings = RolloutSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    retention: RetentionSettings = RetentionSettings()

    @model_validator(mode="after")
    def _room_to_change_versions(self) -> Settings:
        if self.engine.num_adapter_slots < 3:
            raise ValueError(
                "engine.num_adapter_slots must be at least 3: for the live adapter, the one before it and the next"
            )
        return self

    @model_validator(mode="after")
    def _room_for_all(self) -> Settings:
        autoscaling = self.placement.autoscaling
        if autoscaling is not None and autoscaling.max_replicas < self.num_replicas:
            raise ValueError("placement.autoscaling.max_replicas must be at least num_replicas")
        if self.alignment.training.device.startswith("cuda") and self.alignment.num_gpus == 0:
            raise ValueError(
                "alignment.num_gpus must be above 0 where alignment.training.device is cuda: the gate measures there, "
                "and Ray shows no GPU to who asks for none"
            )
        return self

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.database_file}"

    @property
    def database_file(self) -> Path | None:
        """Of the server's own database; none where `database` names another one."""
        return None if self.database is not None else self.state.resolve() / "errata.db"

    @property
    def blobs_url(self) -> str:
        return self.blobs or str(self.state.resolve() / "blobs")

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def check_shared(settings: Settings, num_nodes: int) -> None:
    """Raises `SettingsError` where nodes would each have a state of their own."""
    if num_nodes > 1 and settings.database_url.startswith("sqlite"):
        raise SettingsError(
            f"the cluster has {num_nodes} nodes, and SQLite is a file of one of them: answers and corrections "
            "would not be the same everywhere; set `database` to postgresql://HOST/NAME and `blobs` to a store that "
            "all nodes reach, e.g. s3://BUCKET/errata"
        )


def check_traces(settings: Settings) -> None:
    """Raises `SettingsError` where they are asked for and this process cannot send them."""
    if not settings.traces:
        return
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "`traces` needs OpenTelemetry's exporter: pip install 'errata-server[otel]', or leave the setting out"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether the name or address can only be this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
