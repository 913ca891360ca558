# Runs a fleet of three controllers on a Nomad cluster, from the image of deploy/Dockerfile. They share the pods of all nodes.
# The nodes that run a controller have a Consul agent.
#
#   nomad job run -var image=REGISTRY/podpulse:TAG deploy/nomad/podpulse-fleet.nomad.hcl
#
# Needs Nomad 1.5 or newer.
#
# Run either this job or podpulse.nomad.hcl, which runs a controller on every node, and not both on the same manifests.
#
# If ACLs deny by default, one token serves all members (podpulse acl-policy --config FILE, with `fleet` in the file). Store
# it in a Nomad variable that only this job can read:
#
#   nomad var put nomad/jobs/podpulse-fleet consul_token=...

variable "image" {
  type        = string
  description = "The image, with its tag or digest."
}

variable "fleet" {
  type        = string
  default     = "production"
  description = "The name of the fleet: controllers with the same name share the pods."
}

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

job "podpulse-fleet" {
  datacenters = var.datacenters
  type        = "service"

  # One member at a time. The next one follows when the new member is ready, so that at most one share moves at a time. A
  # version whose members do not get ready is rolled back.
  update {
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "15s"
    healthy_deadline  = "2m"
    progress_deadline = "5m"
    auto_revert       = true
  }

  group "controller" {
    count = 3

    # Two members on one host would be lost together.
    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    network {
      mode = "host"
      port "http" {
        static = 9815
      }
    }

    # The Consul session and the check counts are kept in the allocation's folder, and survive the container.
    ephemeral_disk {
      sticky = true
    }

    # Nomad restarts the task without a limit, because most obstacles are temporary, such as a Consul that starts later.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    # A service of Nomad, for this check. The controller registers itself in Consul.
    service {
      name     = "podpulse-fleet"
      provider = "nomad"
      port     = "http"

      # /-/healthy answers 503 if a thread hangs. /-/ready is not used, because an unreachable Consul is no reason for a
      # restart. Requests from this host need no password. If `web_config_file` has a certificate, add
      # `protocol = "https"` and `tls_skip_verify = true`.
      check {
        type     = "http"
        path     = "/-/healthy"
        interval = "10s"
        timeout  = "3s"

        check_restart {
          limit = 3
          grace = "30s"
        }
      }

      # For updates: a member is ready when it has joined the fleet, which takes 10 s, and has read its manifests.
      check {
        name     = "ready"
        type     = "http"
        path     = "/-/ready"
        interval = "5s"
        timeout  = "3s"
      }
    }

    task "podpulse" {
      driver       = "docker"
      kill_timeout = "10s"

      config {
        image        = var.image
        network_mode = "host"
        args         = ["run", "--config", "/local/config.yaml"]
        cap_drop     = ["all"]

        # The image has a health check, `podpulse healthy`, which uses the arguments of process 1. `docker ps` shows its result.

        ulimit {
          nofile = "65536"
        }
      }

      # Only options that differ from deploy/config.example.yaml. `node_name` is the id of the member.
      template {
        destination = "local/config.yaml"
        data        = <<-END
          node_name: {{ env "node.unique.name" }}
          fleet: ${var.fleet}
          address: catalog
          listen: {{ env "NOMAD_ADDR_http" }}
          state_dir: /alloc/data
          consul:
            address: 127.0.0.1:8500
            {{- if nomadVarExists "nomad/jobs/podpulse-fleet" }}
            token_file: /secrets/consul-token
            {{- end }}
        END
      }

      # The controller reloads the file when it changes.
      template {
        destination = "secrets/consul-token"
        change_mode = "noop"
        perms       = "0444"
        data        = <<-END
          {{ if nomadVarExists "nomad/jobs/podpulse-fleet" }}{{ with nomadVar "nomad/jobs/podpulse-fleet" }}{{ .consul_token }}{{ end }}{{ end }}
        END
      }

      # For 10,000 checks. Size it for the share that a member has when another one is dead.
      resources {
        cpu        = 500
        memory     = 192
        memory_max = 384
      }
    }
  }
}
