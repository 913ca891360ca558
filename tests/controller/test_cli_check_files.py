"""`podpulse check-config` tries certificates and keys as the program would use them, and asks for no passphrase."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.cli import complaint, good, run
from tests.support.net import Certificates


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return Certificates.issue(tmp_path / "tls")


def with_pair(folder: Path, section: str, cert: Path, key: Path) -> Path:
    """A configuration in which a section has this certificate and key."""
    pair = {"cert_file": str(cert), "key_file": str(key)}
    web = folder / "web.yml"
    web.write_text(yaml.safe_dump({"tls_server_config": pair}))
    documents: Mapping[str, object] = {
        "defaults.tls": {"defaults": {"tls": pair}},
        "consul": {"consul": {"address": "https://127.0.0.1:8501", **pair}},
        "web_config_file": {"web_config_file": str(web)},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(documents[section]))
    return file


def wrong_keys(folder: Path, files: Certificates) -> Mapping[str, Path]:
    """Returns files that a person may take for the key of the certificate, by what is wrong with them."""
    empty, locked = folder / "empty.pem", folder / "locked.pem"
    empty.touch()
    key = load_pem_private_key(files.key.read_bytes(), None)
    passphrase = BestAvailableEncryption(b"secret")
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, passphrase))
    return {"empty": empty, "an authority": files.ca, "another's": files.client_key, "with a passphrase": locked}


@pytest.mark.parametrize("section", ["defaults.tls", "consul", "web_config_file"])
def test_a_key_that_does_not_match_the_certificate_is_refused(
    tmp_path: Path, files: Certificates, section: str
) -> None:
    good(run("check-config", with_pair(tmp_path, section, files.cert, files.key)))
    for what, key in wrong_keys(tmp_path, files).items():
        said = complaint(run("check-config", with_pair(tmp_path, section, files.cert, key)))
        assert f"{section}" in said, what
        assert "expected a certificate" in said, what


def test_a_file_without_authorities_is_refused(tmp_path: Path, files: Certificates) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"defaults: {{tls: {{ca_file: {files.key}}}}}\n")
    said = complaint(run("check-config", file))
    assert f"defaults.tls.ca_file: expected certificates of authorities, got {files.key}" in said


GARBAGE = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
IGNORED = "certificate number 2 cannot be parsed, and is ignored"


@pytest.fixture
def bundle(tmp_path: Path, files: Certificates) -> Path:
    """A file of authorities whose second certificate is no certificate."""
    path = tmp_path / "bundle.pem"
    path.write_text(files.ca.read_text() + GARBAGE + files.ca.read_text())
    return path


def test_a_certificate_that_is_ignored_is_named_by_check_config(tmp_path: Path, bundle: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"ca_file: {bundle}\ndefaults: {{tls: {{ca_file: {bundle}}}}}\n")
    ignored = [f"{option}: {bundle}: {IGNORED}" for option in ("ca_file", "defaults.tls.ca_file")]
    assert good(run("check-config", file)).splitlines() == [f"{file}: good", *(f"{file}: {each}" for each in ignored)]


def test_files_that_cannot_be_used_are_named_by_check_manifest(tmp_path: Path, files: Certificates) -> None:
    manifest = tmp_path / "isup.yaml"
    text = "{id: isup, status_port: 8000, status: {http: false, tls: {%s}}}"

    def warned(tls: str) -> list[str]:
        manifest.write_text(text % tls)
        return [line for line in good(run("check-manifest", manifest)).splitlines() if "warning" in line]

    (said,) = warned(f"ca_file: {files.key}")
    assert f"status.tls.ca_file: expected certificates of authorities, got {files.key}" in said
    (said,) = warned(f"cert_file: {files.cert}, key_file: {files.client_key}")
    assert said.endswith(f"{files.client_key}: does not belong to the certificate in {files.cert}")
    assert not warned(f"cert_file: {files.cert}, key_file: {files.key}")
    assert not warned(f"cert_file: {files.cert}, key_file: {tmp_path}/of-the-host-that-runs-the-pod.pem")


def test_a_certificate_that_is_ignored_is_named_by_check_manifest(
    tmp_path: Path, bundle: Path, files: Certificates
) -> None:
    manifest = tmp_path / "isup.yaml"
    text = "{id: isup, status_port: 8000, status: {http: false, tls: {ca_file: %s}}}"

    def warned(ca_file: Path) -> list[str]:
        manifest.write_text(text % ca_file)
        said = good(run("check-manifest", manifest)).splitlines()
        return [line for line in said if "warning" in line]

    assert warned(bundle) == [f"{manifest}: warning: status.tls.ca_file: {bundle}: {IGNORED}"]
    assert not warned(files.ca)
    assert not warned(tmp_path / "of the host that runs the pod.pem")
