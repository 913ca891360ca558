"""Job files of Nomad, read without Nomad: no package of a registry that the tests can use has the program.

The blocks and attributes are those of Nomad's own Go package `api` of October 2026 and, for the driver docker, those of
its documentation. Templates are rendered only as far as our files use them.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hcl2

SERVICE = """name tags canary_tags enable_tag_override port address_mode address check check_restart connect meta
        canary_meta tagged_addresses task on_update identity weights provider cluster kind"""
CHECK = """name type command args path protocol port expose address_mode advertise interval timeout
        initial_status notes tls_server_name tls_skip_verify header method check_restart grpc_service
        grpc_use_tls task success_before_passing failures_before_critical failures_before_warning body
        on_update"""
KNOWN = {
    "variable": "type description default sensitive validation",
    "job": """region namespace id name type priority all_at_once datacenters node_pool constraint affinity group
        update multiregion spread periodic parameterized reschedule migrate meta ui task vault""",
    "update": """stagger max_parallel health_check min_healthy_time healthy_deadline progress_deadline canary
        auto_revert auto_promote""",
    "group": """count constraint affinity task spread volume restart disconnect reschedule ephemeral_disk update
        migrate network meta service shutdown_delay max_run_duration stop_after_client_disconnect
        max_client_disconnect scaling consul prevent_reschedule_on_lost vault""",
    "constraint": "attribute value operator",
    "network": "mode device cidr ip dns reserved_ports port hostname mbits cni",
    "port": "static to host_network ignore_collision",
    "ephemeral_disk": "sticky migrate size",
    "restart": "interval attempts delay mode render_templates",
    "service": SERVICE,
    "check": CHECK,
    "check_restart": "limit grace ignore_warnings",
    "task": """driver user lifecycle config constraint affinity env service resources restart meta kill_timeout
        logs artifact vault consul template dispatch_payload volume_mount csi_plugin leader shutdown_delay
        kill_signal kind scaling secret identity action schedule""",
    "template": """source destination data change_mode change_script change_signal once splay perms uid gid
        left_delimiter right_delimiter env vault_grace wait error_on_missing_key""",
    "resources": "cpu cores memory memory_max disk network device numa secrets iops",
    "config": """image advertise_ipv6_address args auth auth_soft_fail cap_add cap_drop command cpuset_cpus
        cpu_hard_limit cpu_cfs_period devices dns_search_domains dns_options dns_servers entrypoint
        extra_hosts force_pull group_add healthchecks hostname init interactive ipc_mode ipv4_address
        ipv6_address isolation labels load logging mac_address memory_hard_limit mount mounts
        network_aliases network_mode runtime pids_limit pid_mode ports port_map privileged
        image_pull_timeout readonly_rootfs security_opt shm_size storage_opt sysctl tty ulimit uts_mode
        userns_mode volumes volume_driver work_dir""",
    "ulimit": "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack",
}
LABELLED = {"variable", "job", "group", "port", "task"}
DURATIONS = {
    "stagger",
    "min_healthy_time",
    "healthy_deadline",
    "progress_deadline",
    "interval",
    "delay",
    "timeout",
    "grace",
}
DURATIONS |= {"kill_timeout", "splay", "shutdown_delay"}
DURATION = re.compile(r"\d+(ms|s|m|h)")
HEREDOC = re.compile(r"<<-END\n(.*)\n *END", re.DOTALL)
CONDITIONAL = re.compile(r"\n?[ ]*\{\{-? if nomadVarExists .*?\}\}(.*?)\{\{-? end \}\}(?! *\{\{)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    name: str
    body: Mapping[str, Any]

    def attribute(self, name: str) -> Any:
        """Returns the value without the quotes that the parser keeps."""
        return _bare(self.body[name])

    def blocks(self, kind: str) -> list["Block"]:
        return list(_blocks(kind, self.body.get(kind, [])))

    def block(self, *kinds: str) -> "Block":
        """Returns the only block of the first kind, in it the only one of the next kind, and so on."""
        (found,) = self.blocks(kinds[0])
        return found.block(*kinds[1:]) if len(kinds) > 1 else found

    def everything(self) -> Iterator["Block"]:
        """Yields the block and all blocks in it."""
        yield self
        for kind, value in self.body.items():
            if isinstance(value, list) and value and isinstance(value[0], dict) and not kind.startswith("__"):
                for block in _blocks(kind, value):
                    yield from block.everything()

    def unknown(self) -> list[str]:
        """Returns what Nomad does not know, and durations that it could not read."""
        names = {name for name in self.body if not name.startswith("__")}
        wrong = names - set(KNOWN[self.kind].split())
        wrong |= {name for name in names & DURATIONS if not DURATION.fullmatch(self.attribute(name))}
        return [f"{self.kind}.{name}" for name in sorted(wrong)]


class JobFile:
    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8") as file:
            self._parsed = hcl2.load(file)

    @cached_property
    def job(self) -> Block:
        (job,) = _blocks("job", self._parsed["job"])
        return job

    @property
    def blocks(self) -> list[Block]:
        return [*_blocks("variable", self._parsed["variable"]), *self.job.everything()]

    @property
    def task(self) -> Block:
        return self.job.block("group", "task")

    def rendered(self, values: Mapping[str, str], token: str = "") -> dict[str, str]:
        """Returns the files of the templates by their paths in the container.

        `values` has the results of `env` and of `${var...}`; `token` is the job's variable, "" without the variable.
        """
        return {
            f"/{template.attribute('destination')}": _render(template.attribute("data"), values, token)
            for template in self.task.blocks("template")
        }


def _blocks(kind: str, found: list[dict[str, Any]]) -> Iterator[Block]:
    for each in found:
        if kind in LABELLED:
            yield from (Block(kind, name.strip('"'), body) for name, body in each.items())
        else:
            yield Block(kind, "", each)


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(each) for each in value]
    return value.removeprefix('"').removesuffix('"') if isinstance(value, str) else value


def _render(heredoc: str, values: Mapping[str, str], token: str) -> str:
    found = HEREDOC.fullmatch(heredoc)
    assert found, heredoc
    text = textwrap.dedent(found[1])
    for name, value in values.items():
        text = text.replace(f'{{{{ env "{name}" }}}}', value).replace(f"${{{name}}}", value)
    text = re.sub(r"\{\{ with nomadVar \S+ \}\}\{\{ \.consul_token \}\}\{\{ end \}\}", token, text)
    text = CONDITIONAL.sub(lambda found: found[1].rstrip(" ") if token else "", text)
    assert "{{" not in text, text
    assert "${" not in text, text
    return text
