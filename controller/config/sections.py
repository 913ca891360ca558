"""The sections of the configuration."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from controller.config.fields import (
    ConsulAddress,
    ConsulHeaders,
    ConsulName,
    FilePath,
    HttpAuth,
    Meta,
    MetaPrefix,
    NamePrefix,
    ReadableFile,
    Token,
)
from controller.config.live import LIVE
from reconcilers.fields import Boolean, Host, Text, duration, number


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DampingSection(Section):
    """p2's throttle of a pod that flaps: see `reconcilers.damping`."""

    changes: Annotated[int, BeforeValidator(number(0, 1000))] = 16
    refill: Annotated[float, BeforeValidator(duration(1, 3600))] = 15.0
    quiet: Annotated[float, BeforeValidator(duration(1, 3600))] = 60.0


class ServiceSection(Section):
    """The names of pods as services of the local agent, for `publish: agent`."""

    name_prefix: Annotated[NamePrefix, LIVE] = ""
    meta_prefix: Annotated[MetaPrefix, LIVE] = "podpulse-"
    tags: Annotated[tuple[Text, ...], LIVE] = ()
    meta: Annotated[Meta, LIVE] = Field(default_factory=dict)
    ttl: Annotated[float, BeforeValidator(duration(3, 3600))] = 20.0


class ConsulSection(Section):
    """How to reach Consul. Consul's usual environment variables supply absent options."""

    address: ConsulAddress | None = None
    token: Annotated[Token | None, LIVE] = Field(default=None, repr=False)
    token_file: Annotated[FilePath | None, LIVE] = None
    ca_file: Annotated[ReadableFile | None, LIVE] = None
    cert_file: Annotated[ReadableFile | None, LIVE] = None
    key_file: Annotated[ReadableFile | None, LIVE] = None
    server_name: Annotated[Host | None, LIVE] = None
    insecure_skip_verify: Annotated[Boolean | None, LIVE] = None
    headers: Annotated[ConsulHeaders | None, LIVE] = Field(default=None, repr=False)
    http_auth: Annotated[HttpAuth | None, LIVE] = Field(default=None, repr=False)
    namespace: ConsulName | None = None
    partition: ConsulName | None = None
    wait: Annotated[float, BeforeValidator(duration(1, 10))] = 10.0
