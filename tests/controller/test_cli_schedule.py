"""`schedule` and `unschedule` on a real Consul, for special pods: p2's hooks and its pods with a UUID."""

import json
from pathlib import Path

import pytest

from tests.support.cli import complaint, good, on, run
from tests.support.consul import Agent

MANIFEST = "id: isup\nstatus_port: 8000\nstatus_http: true\n"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "isup.yaml"
    file.write_text(MANIFEST)
    return file


def test_a_name_that_has_no_manifest_is_said_with_the_nearest_one(
    consul: Agent, manifest: Path, tmp_path: Path
) -> None:
    good(on(consul, "schedule", manifest, "--node", "web1"))
    good(run("schedule", manifest, "--node", "web1", "--intent-dir", tmp_path / "pods"))
    for place in (
        on(consul, "unschedule", "isp", "--node", "web1"),
        run("unschedule", "isp", "--node", "web1", "--intent-dir", tmp_path / "pods"),
    ):
        assert good(place) == ""
        assert place.stderr == "nothing was removed: no pod isp is scheduled or published; did you mean isup?\n"
    assert on(consul, "unschedule", "isup", "--node", "web1").stderr == ""


@pytest.mark.parametrize("node", [[], ["--node", "web1"]], ids=["no node", "a node that is passed over"])
def test_a_hook_is_written_without_a_node_and_removed(consul: Agent, manifest: Path, node: list[str]) -> None:
    said = json.loads(good(on(consul, "schedule", manifest, "--hook", *node)))
    assert said == {"pod_id": "isup", "pod_unique_key": ""}
    assert consul.keys() == ["hooks/isup"]
    assert consul.get("hooks/isup") == MANIFEST.encode()
    good(on(consul, "unschedule", "isup", "--hook", *node))
    assert consul.keys() == []


def test_several_manifests_are_written_with_a_line_for_each(consul: Agent, manifest: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("id: other\ncolour: red\n")
    result = on(consul, "schedule", manifest, other, "--node", "web1")
    assert [json.loads(line)["pod_id"] for line in good(result).splitlines()] == ["isup", "other"]
    assert result.stderr.count("warning") == 1
    assert consul.keys() == ["intent/web1/isup", "intent/web1/other"]


def test_if_one_of_several_manifests_is_invalid_none_is_written(consul: Agent, manifest: Path, tmp_path: Path) -> None:
    wrong, broken = tmp_path / "wrong.yaml", tmp_path / "broken.yaml"
    wrong.write_text("id: wrong\nstatus_port: http\n")
    broken.write_text("id: [\n")
    said = complaint(on(consul, "schedule", manifest, wrong, broken, "--node", "web1"))
    assert f"{wrong}: status_port" in said
    assert f"{broken}: line 2" in said
    assert consul.keys() == []


def test_two_uuid_pods_of_the_same_name_can_coexist(consul: Agent, manifest: Path) -> None:
    first, second = (
        json.loads(good(on(consul, "schedule", manifest, "--uuid-pod", "--node", "web2"))) for _ in range(2)
    )
    uuid = first["pod_unique_key"]
    assert first["pod_id"] == second["pod_id"] == "isup"
    assert len(consul.keys("pods/")) == len(consul.keys("intent/web2/")) == 2
    assert consul.get(f"intent/web2/{uuid}") == b'{"pod_key":"%s"}' % uuid.encode()
    assert json.loads(consul.get(f"pods/{uuid}") or b"") == {"manifest": MANIFEST, "node": "web2"}
    assert json.loads(good(on(consul, "inspect"))) == {}, "as in p2, they are not shown"

    good(on(consul, "unschedule", uuid, "--uuid-pod"))
    assert consul.keys() == sorted([f"pods/{second['pod_unique_key']}", f"intent/web2/{second['pod_unique_key']}"])
    assert f"no pod has the UUID {uuid}" in complaint(on(consul, "unschedule", uuid, "--uuid-pod"))


def test_the_index_of_a_lost_uuid_pod_is_removed_if_its_node_is_given(consul: Agent, manifest: Path) -> None:
    uuid = json.loads(good(on(consul, "schedule", manifest, "--uuid-pod", "--node", "web2")))["pod_unique_key"]
    consul.delete(f"pods/{uuid}")
    good(on(consul, "unschedule", uuid, "--uuid-pod", "--node", "web2"))
    assert consul.keys() == []


def test_a_uuid_pod_is_written_completely_or_not_at_all(consul_binary: Path, manifest: Path) -> None:
    with Agent(consul_binary, acl=True) as consul:
        token = consul.create_token('key_prefix "pods/" { policy = "write" }')
        said = complaint(on(consul, "schedule", manifest, "--uuid-pod", "--token", token))
        assert "Permission denied" in said
        assert consul.keys() == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--hook", "--uuid-pod"], "--hook and --uuid-pod"),
        (["--hook", "--intent-dir", "pods"], "--hook and --intent-dir"),
        (["--uuid-pod", "--intent-dir", "pods"], "--uuid-pod and --intent-dir"),
    ],
)
def test_mutually_exclusive_kinds_of_pods_are_a_usage_error(
    manifest: Path, arguments: list[str], expected: str
) -> None:
    for verb, what in (("schedule", manifest), ("unschedule", "isup")):
        result = run(verb, what, *arguments)
        assert result.exit_code == 2
        assert expected in complaint(result)


def test_an_invalid_uuid_is_a_usage_error(consul: Agent) -> None:
    assert "expected a UUID, got 'isup'" in complaint(on(consul, "unschedule", "isup", "--uuid-pod"))


def test_a_signed_manifest_with_other_bytes_around_it_is_no_text_and_so_no_uuid_pod(
    consul: Agent, tmp_path: Path
) -> None:
    file = tmp_path / "signed.yaml"
    signature = b"-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n"
    file.write_bytes(b"caf\xe9\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nid: isup\n" + signature)
    good(on(consul, "schedule", file))
    assert "expected a manifest in UTF-8" in complaint(on(consul, "schedule", file, "--uuid-pod"))
