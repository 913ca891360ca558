"""The options of `status.tls:`, in a manifest and in the configuration's `defaults:`."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, model_validator

from reconcilers.fields import Boolean, File, Host
from reconcilers.option import Option, declared
from reconcilers.spec import Tls


class TlsOptions(BaseModel):
    """Files and names of TLS; see `reconcilers.spec.Tls`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: Annotated[
        File,
        Option("the authorities that the certificate is checked with", "/ca.pem", default="the controller's `ca_file`"),
    ] = ""
    cert_file: Annotated[
        File, Option("the client certificate, together with `key_file`", "/cert.pem", default="none")
    ] = ""
    key_file: Annotated[File, Option("the private key of `cert_file`", "/key.pem", default="none")] = ""
    server_name: Annotated[
        Host,
        Option("the name for SNI and for the verification of the certificate", "web.example.com", default="the host"),
    ] = ""
    insecure_skip_verify: Annotated[Boolean, Option("accept every certificate", "true", default="`false`")] = False
    resume: Annotated[
        Boolean,
        Option(
            "accepted, and without effect: every new connection verifies the certificate", "true", default="`false`"
        ),
    ] = False

    @model_validator(mode="after")
    def _a_certificate_has_its_key(self) -> "TlsOptions":
        said = self.model_fields_set
        if ("cert_file" in said) != ("key_file" in said) or bool(self.cert_file) != bool(self.key_file):
            raise ValueError("expected cert_file and key_file together")
        return self

    def as_tls(self) -> Tls:
        return Tls(**self.model_dump())


class LenientTls(TlsOptions):
    model_config = ConfigDict(extra="ignore", frozen=True)


TLS_OPTIONS: Mapping[str, Option] = dict(declared(TlsOptions))
"""By name, every option of `status.tls:`."""


def tls_texts(tls: Tls) -> Mapping[str, str]:
    values = {name: getattr(tls, name) for name in TlsOptions.model_fields}
    return {name: "true" if value is True else value for name, value in values.items() if value}
